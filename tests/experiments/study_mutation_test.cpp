// Every value of the bundled studies replaced by anything: the study is read, or refused in one line that says where.
#include <functional>
#include <set>

#include "experiments/cell/cell_setup.h"
#include "experiments/util/console.h"
#include "framework/core/printable.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

namespace foretell {
namespace {

using Rebuild = std::function<ConfigValue(ConfigValue)>;  // the document with another value in a place
using Visit =
    std::function<void(const std::string&, const Rebuild&)>;  // a place: its path without the numbers of lists

void visit_values(const ConfigValue& value, const std::string& path, const Rebuild& rebuild, const Visit& visit) {
  if (!path.empty()) visit(path, rebuild);
  for (std::size_t i = 0; i < value.items().size(); ++i)
    visit_values(
        value.items()[i], path + "[]",
        [&, i](ConfigValue other) {
          std::vector<ConfigValue> items = value.items();
          items[i] = std::move(other);
          return rebuild(ConfigValue::list(std::move(items)));
        },
        visit);
  for (std::size_t i = 0; i < value.entries().size(); ++i)
    visit_values(
        value.entries()[i].value, path + "." + value.entries()[i].key,
        [&, i](ConfigValue other) {
          std::vector<ConfigValue::Entry> entries = value.entries();
          entries[i].value = std::move(other);
          return rebuild(ConfigValue::map(std::move(entries)));
        },
        visit);
}

std::vector<ConfigValue> replacements() {
  std::vector<ConfigValue> out = {ConfigValue(), ConfigValue::list({}), ConfigValue::map({}),
                                  ConfigValue::scalar("\x1b[31mred\xe2\x80\xae", {}, true),
                                  ConfigValue::scalar("", {}, true)};
  for (const char* number : {"-1", "0", "99999999999999999999", "1e300", ".nan", "none"})
    out.push_back(ConfigValue::scalar(number));
  out.push_back(ConfigValue::list({ConfigValue::scalar("1"), ConfigValue::map({{"a", ConfigValue(), {}}})}));
  out.push_back(ConfigValue::map({{"type", ConfigValue::scalar("nobody"), {}}}));
  const ConfigValue one = ConfigValue::scalar("1");
  out.push_back(ConfigValue::map({{"twice", one, {}}, {"twice", one, {}}}));
  return out;
}

// What a user would see of it; nothing where the study is fine.
std::string refusal(const std::filesystem::path& file, ModelPool& pool) {
  try {
    const Study study = load_study(file, {});
    set_up_cell(study.cells.front(), file.parent_path(), pool, {.costs = Costs::Assumed});
    return "";
  } catch (const Error& error) {
    CHECK(error.has_exact_place());
    return error.what();
  }
}

// Real models would be loaded for every change.
class WithoutOutsideData {
 public:
  WithoutOutsideData() {
    if (const char* set = std::getenv("FORETELL_DATA")) data_ = set;
    ::unsetenv("FORETELL_DATA");
  }
  ~WithoutOutsideData() {
    if (data_) ::setenv("FORETELL_DATA", data_->c_str(), 1);
  }

 private:
  std::optional<std::string> data_;
};

TEST_CASE("a value of a study that is anything else is refused with file and line, or taken") {
  const char* source = std::getenv("FORETELL_SOURCE_DIR");
  const std::filesystem::path root = source ? source : ".";
  const testing::TemporaryFolder folder;
  ModelPool pool(folder.path() / "models");
  const WithoutOutsideData bundled;
  std::set<std::string> seen;
  int taken = 0, refused = 0;
  const auto others = replacements();
  for (const auto& entry : std::filesystem::directory_iterator(root / "configs/studies")) {
    if (entry.path().extension() != ".yaml") continue;
    const ConfigValue document = load_yaml(entry.path());
    visit_values(
        document, "", [](ConfigValue value) { return value; },
        [&](const std::string& path, const Rebuild& rebuild) {
          if (!seen.insert(path).second) return;
          for (std::size_t i = 0; i < others.size(); ++i) {
            folder.write("study.yaml", rebuild(others[i]).to_yaml());
            INFO(entry.path() << " with " << path << " = " << printable(others[i].to_flow()));
            std::string said;
            REQUIRE_NOTHROW(said = refusal(folder.path() / "study.yaml", pool));
            INFO(said);
            CHECK(said.find('\n') == std::string::npos);
            ++(said.empty() ? taken : refused);
          }
        });
  }
  CHECK(taken > 0);
  CHECK(refused > 1000);
}

}  // namespace
}  // namespace foretell
