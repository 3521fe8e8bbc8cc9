// libFuzzer target: study.json, manifest.json and summary.json of any bytes, a zero byte between each two, as report and merge read them. What is accepted
// can be written in every format, and no text of it acts on a terminal or a spreadsheet.
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "experiments/provenance.h"
#include "experiments/report/report_files.h"
#include "experiments/report/study_folder.h"
#include "framework/base/error.h"
#include "framework/base/printable.h"

namespace foretell {
namespace {

void check(const std::array<std::string_view, 3>& files) {
  const StudyIndex index = study_index_of(ResultJson(files[0], "study.json"));
  const ResultJson manifest(files[1], "manifest.json");
  const CellFiles cell{.manifest = manifest, .summary = ResultJson(files[2], "summary.json")};
  StudyFolder study{.folder = "fuzz", .study = index.study, .description = index.description, .file = index.file};
  for (const IndexedCell& indexed : index.cells) {
    FORETELL_CHECK(is_cell_hash(indexed.hash), "a cell's folder is named {}", indexed.hash);
    study.cells.push_back(report_cell(indexed, study.cells.empty() ? std::optional(cell) : std::nullopt));
  }
  const CellOrigin origin = origin_of("a", manifest, std::nullopt);
  check_origins(std::array{origin, origin}, true);
  for (const std::string& text : {report_text(study), report_markdown(study), report_csv(study), exported_json(report_json(study))})
    FORETELL_CHECK(printable_lines(text) == text, "{} bytes of a report would act on a terminal", text.size());
}

}  // namespace
}  // namespace foretell

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  std::array<std::string_view, 3> files;
  std::size_t at = 0;
  for (std::string_view& file : files) {
    const std::size_t end = std::min(bytes.find('\0', at), bytes.size());
    file = bytes.substr(at, end - at);
    at = std::min(end + 1, bytes.size());
  }
  try {
    foretell::check(files);
  } catch (const foretell::Error&) {
  }
  return 0;
}
