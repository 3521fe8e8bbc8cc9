// Charts of a study as SVG or PNG, drawn by gnuplot.
//
// Contract: gnuplot runs without a shell in a temporary folder, on a script that holds numbers of ours and no text of
// the study; names of cells are fields of a data file, in which gnuplot evaluates nothing. (Their quotes and
// backslashes are replaced and long ones are cut, for the picture only.) The picture appears under its name only when
// it is complete. Cells without the numbers that a chart needs are left out; an Error if none is left.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "experiments/report/study_folder.h"

namespace foretell::report {

std::vector<std::string> plot_kinds();

struct PlotFiles {
  std::string script, data;
};
// What gnuplot is given. `terminal`: svg or png.
PlotFiles plot_files(const StudyFolder& study, const std::string& kind, const std::string& terminal);

// `file` ends in .svg or .png; `files` writes that to "picture".
void draw(const PlotFiles& files, const std::filesystem::path& file);
// "svg" or "png", by the name's end; an Error for any other.
std::string picture_terminal(const std::filesystem::path& file);
// What a script begins with.
std::string plot_head(const std::string& terminal, int height);

// As draw().
void draw_plot(const StudyFolder& study, const std::string& kind, const std::filesystem::path& file);

}  // namespace foretell::report
