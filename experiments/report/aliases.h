// What other tools call the numbers of a report, so that two tables can be laid side by side.
//
// Contract: constant. A note says where the other tool's definition is not quite ours.
#pragma once

#include <span>
#include <string>

namespace foretell {

struct ReportAlias {
  const char *measure, *tool, *their_name, *note;
};

std::span<const ReportAlias> report_aliases();
std::string aliases_csv();  // measure, tool, their_name, note

}  // namespace foretell
