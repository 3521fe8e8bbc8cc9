#include "experiments/report/plot.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "experiments/analysis/measures.h"
#include "experiments/util/console.h"
#include "experiments/util/scratch_folder.h"
#include "framework/core/error.h"
#include "framework/core/printable.h"
#include "framework/io/atomic_file.h"
#include "framework/io/file_bytes.h"

namespace foretell::report {
namespace {

constexpr std::size_t kNameLength = 60;
constexpr std::array kColours = {"#2a6fb0", "#d9722b", "#2e8b57", "#8a5fb8",
                                 "#c23b4a", "#7a6a2f", "#0f8f9c", "#b0508f"};
// As gnuplot takes colours out of data; a bar is grey where its timing is unreliable.
constexpr int kBar = 0x2a6fb0, kDoubtfulBar = 0x8a949e;

// What gnuplot draws, before it is written down.
struct Chart {
  int height = 420;
  std::string data = {}, script = {};
};

std::string plot_name(const std::string& name) {
  std::string out;
  for (const char c : printable(name)) out += c == '"' ? '\'' : c == '\\' || c == '\t' ? '/' : c;
  if (out.size() <= kNameLength) return out;
  std::size_t end = kNameLength;
  while (end > 0 && (static_cast<unsigned char>(out[end]) & 0xC0) == 0x80) --end;  // not in the middle of a character
  return out.substr(0, end) + "...";
}

// A cell's name, with what its bar or point cannot say for itself.
std::string chart_name(const ReportCell& cell, const TaskNumbers& numbers) {
  std::string name = plot_name(cell.name);
  if (numbers.unreliable()) name += " (unreliable timing)";
  if (!cell.given.empty()) name += " (given acceptance)";
  return name;
}

std::string field(const std::optional<double>& value) { return value ? fmt::format("{}", *value) : "NaN"; }

// Bars that lie on their sides, one a row, the first one on top.
std::string rows_of_bars(int rows) {
  return fmt::format(
      "set yrange [{}:-0.6]\nset ytics nomirror\nset xtics nomirror\nset grid xtics lc rgb '#d8dde2'\nset border 3\n",
      rows - 0.4);
}

int height_of(int rows) { return 110 + 22 * rows; }

// Calls f for every cell that is whole enough to be drawn, with its numbers of all tasks.
template <class F>
void for_each_overall(const StudyFolder& study, const F& f) {
  for (const ReportCell& cell : study.cells)
    if (const TaskNumbers* overall = cell.overall()) f(cell, *overall);
}

Chart speedup_chart(const StudyFolder& study) {
  Chart chart;
  int rows = 0;
  for_each_overall(study, [&](const ReportCell& cell, const TaskNumbers& n) {
    if (!n.at("speedup")) return;
    chart.data +=
        fmt::format("{}\t{}\t{}\t{}\t{}\t{}\n", rows++, field(n.at("speedup")), field(n.at("speedup_interval_low")),
                    field(n.at("speedup_interval_high")), chart_name(cell, n), n.unreliable() ? kDoubtfulBar : kBar);
  });
  chart.height = height_of(rows);
  chart.script =
      rows_of_bars(rows) +
      "set xlabel 'speed-up over the baseline'\nset xrange [0:*]\n"
      "set arrow from 1, graph 0 to 1, graph 1 nohead dashtype 2\n"
      "plot 'data.tsv' using 2:1:(0):2:($1-0.35):($1+0.35):6:ytic(5) with boxxyerror fs solid lc rgb variable notitle, "
      "'' using 2:1:3:4 with xerrorbars pt 0 lc rgb 'black' notitle\n";
  return chart;
}

Chart phases_chart(const StudyFolder& study) {
  Chart chart;
  int rows = 0;
  for_each_overall(study, [&](const ReportCell& cell, const TaskNumbers& n) {
    const auto& tokens = n.at("tokens");
    if (!cell.timed || !tokens || *tokens <= 0 || !n.at("score_ms")) return;
    chart.data += fmt::format("{}", rows++);
    double sum = 0;
    for (const char* phase : {"draft_ms", "score_ms", "verify_ms", "commit_ms"})
      chart.data += fmt::format("\t{}", sum += n.at(phase).value_or(0) / *tokens);
    chart.data += fmt::format("\t{}\n", chart_name(cell, n));
  });
  chart.height = height_of(rows) + 30;
  chart.script = rows_of_bars(rows) + "set xlabel 'ms per emitted token'\nset xrange [0:*]\nset key above\nplot ";
  const std::array phases = {"draft", "score", "verify", "commit"};
  for (int i = 0; i < 4; ++i)
    chart.script += fmt::format(
        "{}'data.tsv' using {}:1:{}:{}:($1-0.35):($1+0.35){} with boxxyerror fs solid lc rgb '{}' title '{}'",
        i ? ", " : "", i + 2, i ? fmt::format("{}", i + 1) : "(0)", i + 2, i ? "" : ":ytic(6)", kColours[i], phases[i]);
  chart.script += "\n";
  return chart;
}

// Blocks of points, each with a name in its first line.
Chart acceptance_chart(const StudyFolder& study) {
  Chart chart;
  int blocks = 0;
  for_each_overall(study, [&](const ReportCell& cell, const TaskNumbers& n) {
    if (n.acceptance_rate_per_position.empty()) return;
    chart.data += fmt::format("{}{}\n", blocks++ ? "\n\n" : "", chart_name(cell, n));
    for (std::size_t i = 0; i < n.acceptance_rate_per_position.size(); ++i)
      chart.data += fmt::format("{}\t{}\n", i + 1, n.acceptance_rate_per_position[i]);
  });
  chart.height = 420 + 18 * blocks;
  chart.script =
      "set xlabel 'position in the draft'\nset ylabel 'share of rounds that accepted so far'\nset yrange [0:1.02]\nset "
      "xtics 1\nset key "
      "below maxcols 1\n"
      "set grid ytics lc rgb '#d8dde2'\nset border 3\nset tics nomirror\nplot ";
  for (int i = 0; i < blocks; ++i)
    chart.script += fmt::format(
        "{}'data.tsv' index {} using 1:2 with linespoints pt 7 ps 0.6 lw 1.5 dashtype {} lc rgb '{}' title "
        "columnheader(1)",
        i ? ", " : "", i, i / kColours.size() + 1, kColours[i % kColours.size()]);
  chart.script += "\n";
  return chart;
}

Chart predicted_chart(const StudyFolder& study) {
  Chart chart;
  int blocks = 0;
  const std::array<std::pair<const char*, const char*>, 3> kinds = {{{"iid", "predicted_speedup_iid"},
                                                                     {"by position", "predicted_speedup_position_wise"},
                                                                     {"oracle", "predicted_speedup_oracle"}}};
  // Predictions leave the prefill out, and so does what is drawn against them.
  const analysis::Measure& decoding = analysis::task_measures()[analysis::task_measure("decode_speedup")];
  chart.script = fmt::format(
      "set xlabel 'predicted {0}'\nset ylabel 'measured {0}'\nset key above\nset grid lc rgb '#d8dde2'\nset border "
      "3\nset tics nomirror\n"
      "plot x with lines dashtype 2 lc rgb '#8a949e' title 'as predicted'",
      decoding.heading);
  for (const auto& [label, name] : kinds) {
    std::string points;
    for_each_overall(study, [&, measure = analysis::cell_measure(name)](const ReportCell& cell, const TaskNumbers& n) {
      const auto& measured = n.at(decoding.name);
      if (cell.values[measure] && measured && !n.unreliable())
        points += fmt::format("{}\t{}\n", *cell.values[measure], *measured);
    });
    if (points.empty()) continue;
    chart.data += (blocks ? "\n\n" : "") + points;
    chart.script += fmt::format(", 'data.tsv' index {} using 1:2 with points pt {} lc rgb '{}' title '{}'", blocks,
                                5 + 2 * blocks, kColours[blocks], label);
    ++blocks;
  }
  chart.script += "\n";
  return chart;
}

Chart pareto_chart(const StudyFolder& study) {
  const std::array<std::pair<const char*, const char*>, 4> qualities = {
      {{"greedy_rouge_l", "ROUGE-L to the greedy answer of the target"},
       {"same_as_greedy", "share of answers equal to the greedy one of the target"},
       {"exact_match", "share of right answers"},
       {"same_as_baseline", "share of answers equal to the baseline"}}};
  for (const auto& [name, label] : qualities) {
    Chart chart;
    for_each_overall(study, [&, measure = name](const ReportCell& cell, const TaskNumbers& n) {
      if (n.at(measure) && n.at("speedup"))
        chart.data += fmt::format("{}\t{}\t{}\n", *n.at(measure), *n.at("speedup"), chart_name(cell, n));
    });
    if (chart.data.empty()) continue;
    chart.height = 520;
    chart.script = fmt::format(
        "set xlabel '{}'\nset ylabel 'speed-up over the baseline'\nset grid lc rgb '#d8dde2'\nset border 3\nset tics "
        "nomirror\nset offsets "
        "graph 0.1, graph 0.1, "
        "graph 0.1, graph 0.1\nplot 'data.tsv' using 1:2 with points pt 7 lc rgb '{}' notitle, '' using 1:2:3 with "
        "labels offset 0,0.8 "
        "font ',9' notitle\n",
        label, kColours[0]);
    return chart;
  }
  return {};
}

using MakeChart = Chart (*)(const StudyFolder&);
constexpr std::array<std::pair<const char*, MakeChart>, 5> kKinds = {{{"speedup", speedup_chart},
                                                                      {"acceptance", acceptance_chart},
                                                                      {"phases", phases_chart},
                                                                      {"predicted", predicted_chart},
                                                                      {"pareto", pareto_chart}}};

// The exit status. What gnuplot says goes into the file "messages".
int run_gnuplot(const std::filesystem::path& folder) {
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addchdir_np(&actions, folder.c_str());
  ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "messages", O_WRONLY | O_CREAT | O_TRUNC, 0600);
  ::posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
  std::string program = "gnuplot", no_settings = "-d", script = "plot.gp";  // -d: the user's own settings are not read
  const std::array<char*, 4> arguments = {program.data(), no_settings.data(), script.data(), nullptr};
  pid_t child = 0;
  const int error = ::posix_spawnp(&child, "gnuplot", &actions, nullptr, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) fail("gnuplot cannot be run ({}); plots need it (Debian: gnuplot-nox)", std::strerror(error));
  int status = 0;
  while (::waitpid(child, &status, 0) < 0)
    if (errno != EINTR) fail("gnuplot was lost: {}", std::strerror(errno));
  return status;
}

}  // namespace

std::vector<std::string> plot_kinds() {
  std::vector<std::string> names;
  names.reserve(std::size(kKinds));
  for (const auto& [name, make] : kKinds) names.emplace_back(name);
  return names;
}

PlotFiles plot_files(const StudyFolder& study, const std::string& kind, const std::string& terminal) {
  const auto it = std::find_if(kKinds.begin(), kKinds.end(), [&](const auto& entry) { return entry.first == kind; });
  if (it == kKinds.end()) fail("{}", unknown_name_message("kind of plot", kind, plot_kinds()));
  const Chart chart = it->second(study);
  if (chart.data.empty()) fail("{}: no cell has the numbers that a plot of kind {} shows", study.folder.string(), kind);
  return {.script = plot_head(terminal, chart.height) + chart.script, .data = chart.data};
}

std::string plot_head(const std::string& terminal, int height) {
  return fmt::format(
      "set terminal {} size 960,{} noenhanced font 'sans,11' background 'white'\nset output 'picture'\nset datafile "
      "separator \"\\t\"\n"
      "set datafile missing 'NaN'\nset datafile commentschars ''\nset encoding utf8\n",
      terminal == "svg" ? "svg" : "pngcairo", std::min(height, 20000));
}

std::string picture_terminal(const std::filesystem::path& file) {
  const std::string extension = file.extension().string();
  if (extension != ".svg" && extension != ".png") fail("{}: a plot is a .svg or a .png file", file.string());
  return extension.substr(1);
}

void draw(const PlotFiles& files, const std::filesystem::path& file) {
  const util::ScratchFolder scratch("plot");
  io::write_file(scratch.path() / "plot.gp", files.script);
  io::write_file(scratch.path() / "data.tsv", files.data);
  const int status = run_gnuplot(scratch.path());
  const auto picture = scratch.path() / "picture";
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
    fail("gnuplot is not installed; plots need it (Debian: gnuplot-nox)");
  if (status != 0 || !std::filesystem::exists(picture) || std::filesystem::file_size(picture) == 0)
    fail("gnuplot has failed: {}", util::one_line(io::read_file_bytes(scratch.path() / "messages")));
  io::write_file(file, io::read_file_bytes(picture));
}

void draw_plot(const StudyFolder& study, const std::string& kind, const std::filesystem::path& file) {
  draw(plot_files(study, kind, picture_terminal(file)), file);
}

}  // namespace foretell::report
