// What other tools call the numbers of a report (framework/metrics/aliases.h), by the columns of report.csv.
//
// Contract: constant. A note says where the other tool's definition is not quite ours.
#pragma once

#include <string>

namespace foretell::report {

std::string
aliases_csv();  // measure, column, tool, their_name, note; a column may be the first part of several columns' names

}  // namespace foretell::report
