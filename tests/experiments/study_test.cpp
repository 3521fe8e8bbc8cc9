#include "experiments/study/study.h"

#include <cstdlib>
#include <set>

#include "experiments/util/paths.h"
#include "framework/core/error.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"

using namespace foretell;
using foretell::testing::TemporaryFolder;

namespace {

const std::string kMinimal = "study: s\nmodel: {target: m}\nworkload: {type: prompts, prompts: [a]}\n";

Study load(const std::string& text, const std::vector<std::string>& overrides = {}) {
  const TemporaryFolder folder;
  return load_study(folder.write("study.yaml", text), overrides);
}

// The message without the temporary folder's name.
std::string mistake(const std::string& text, const std::vector<std::string>& overrides = {}) {
  const TemporaryFolder folder;
  try {
    load_study(folder.write("study.yaml", text), overrides);
  } catch (const Error& error) {
    std::string what = error.what();
    const std::string prefix = folder.path().string() + "/";
    for (std::size_t at; (at = what.find(prefix)) != std::string::npos;) what.erase(at, prefix.size());
    return what;
  }
  return "no error";
}

}  // namespace

TEST_CASE("a minimal study has one cell: plain decoding, which is its own baseline") {
  const Study study = load(kMinimal);
  REQUIRE(study.cells.size() == 1);
  CHECK(study.cells[0].name == "none");
  CHECK(study.cells[0].is_baseline);
  CHECK(study.cells[0].run.repeats == 1);
  CHECK(study.cells[0].sampling.greedy());
}

TEST_CASE("a sweep is the grid of all combinations, first path slowest; values may be mappings") {
  const Study study = load(std::string(kMinimal) +
                           "sweep:\n  drafter: [{type: none}, {type: model, num_speculative_tokens: 4}]\n  "
                           "sampling.temperature: [0.0, 1.0]\n");
  REQUIRE(study.cells.size() == 4);
  CHECK(study.cells[0].name == "none, temperature=0.0");
  CHECK(study.cells[3].name == "model num_speculative_tokens=4, temperature=1.0");
  CHECK(study.cells[3].sampling.temperature == 1.0);
  CHECK(study.cells[3].settings.find("pipeline.drafter")->find("type")->text() == "model");
  CHECK(study.cells[0].is_baseline);
  CHECK_FALSE(study.cells[3].is_baseline);
  CHECK(study.cells[3].baseline->drafter.find("type")->text() == "none");
  CHECK(study.cells[2].hash != study.cells[3].hash);
}

TEST_CASE("the hash depends on the settings and on nothing else") {
  const std::string one = load(kMinimal).cells[0].hash;
  CHECK(load("# a comment\n" + kMinimal).cells[0].hash == one);
  CHECK(load(kMinimal, {"run.seed=2"}).cells[0].hash != one);
}

TEST_CASE("an override wins over file and sweep, and its path is not swept any more") {
  const std::string text =
      kMinimal + "sweep: {pipeline.drafter: [{type: a}, {type: b}], sampling.temperature: [0.0, 1.0]}\n";
  const Study study = load(text, {"sampling.temperature=0.5", "drafter.k=3"});
  REQUIRE(study.cells.size() == 2);
  CHECK(study.cells[1].sampling.temperature == 0.5);
  CHECK(study.cells[1].pipeline.drafter.find("type")->text() == "b");
  CHECK(study.cells[1].pipeline.drafter.find("k")->text() == "3");
}

namespace {

std::vector<std::string> names(const std::string& sweep, const std::vector<std::string>& overrides = {}) {
  std::vector<std::string> out;
  for (const Cell& cell : load(kMinimal + sweep, overrides).cells) out.push_back(cell.name);
  return out;
}

}  // namespace

TEST_CASE("a sweep may be zipped, one value at a time, a list of cells, or several of these together") {
  using Names = std::vector<std::string>;
  CHECK(names("sweep: {grid: {run.seed: [1, 2]}}\n") == Names{"seed=1", "seed=2"});
  CHECK(names("sweep: {zip: {run.seed: [1, 2], run.repeats: [3, 4]}}\n") ==
        Names{"seed=1, repeats=3", "seed=2, repeats=4"});
  CHECK(names("run: {seed: 5}\nsweep: {one_at_a_time: {run.seed: [5, 6], run.repeats: [3]}}\n") ==
        Names{"none", "seed=6", "repeats=3"});
  CHECK(names("sweep: {cells: [{run.seed: 7}, {run.seed: 8, run.repeats: 2}]}\n") ==
        Names{"seed=7", "seed=8, repeats=2"});
  CHECK(names("sweep: {grid: {run.seed: [1, 2]}, zip: {run.repeats: [3, 4]}}\n").size() == 4);
  CHECK(names("sweep: [{grid: {run.seed: [1, 2]}}, {cells: [{run.repeats: 9}]}]\n") ==
        Names{"seed=1", "seed=2", "repeats=9"});
  CHECK(names("sweep: {zip: {run.seed: [1, 2], run.repeats: [3, 4]}}\n", {"run.seed=9"}) ==
        Names{"repeats=3", "repeats=4"});
  CHECK(mistake(kMinimal + "sweep: {zip: {run.seed: [1, 2], run.repeats: [3]}}\n")
            .find("study.yaml:4: sweep: zip: 'run.repeats' has 1") == 0);
  CHECK(mistake(kMinimal + "sweep: {grid: {run.seed: [1]}, run.repeats: [3]}\n")
            .find("study.yaml:4: sweep: 'run.repeats' stands beside") == 0);
  CHECK(mistake(kMinimal + "sweep: {cells: {run.seed: 1}}\n").find("study.yaml:4: sweep: cells: expected a list") == 0);
  CHECK(mistake(kMinimal + "sweep: [{grid: {run.seed: [1, 2]}}, {cells: [{run.seed: 2}]}]\n").find("comes twice") !=
        std::string::npos);
}

TEST_CASE("a sweep goes into the members of a composition, and the cells' names say which") {
  const std::string study = kMinimal +
                            "pipeline: {policy: {type: all_of, policies: [{type: fixed, k: 9}, {type: svip}]}}\n"
                            "sweep: {policy.policies.0.k: [2, 4], policy.policies.1.threshold: [0.3]}\n";
  const Study loaded = load(study);
  REQUIRE(loaded.cells.size() == 2);
  CHECK(loaded.cells[1].name == "policies.0.k=4, policies.1.threshold=0.3");
  CHECK(loaded.cells[1].pipeline.policy.to_flow() ==
        "{type: all_of, policies: [{type: fixed, k: 4}, {type: svip, threshold: 0.3}]}");
  CHECK(names("pipeline: {policy: {type: all_of, policies: [a, b]}}\nsweep: {policy.policies.1: [c, {type: d}]}\n") ==
        std::vector<std::string>{"policies.1=c", "d"});
  CHECK(mistake(kMinimal + "pipeline: {policy: {type: all_of, policies: [a]}}\nsweep: {policy.policies.1.k: [1]}\n")
            .find("study.yaml:5: '1' is no item of the list at study.yaml:4: it has 1") == 0);
}

TEST_CASE("cells that share everything but the pipeline are one group") {
  const Study study = load(kMinimal +
                           "sweep: {drafter: [{type: none}, {type: a}], verifier: [{type: b}, {type: c}], "
                           "sampling.temperature: [0.0, 1.0]}\n");
  REQUIRE(study.cells.size() == 8);
  std::set<std::string> groups;
  for (const Cell& cell : study.cells) groups.insert(cell.group);
  CHECK(groups.size() == 2);
  CHECK(study.cells[0].group == study.cells[6].group);
  CHECK(study.cells[0].is_baseline);
  CHECK(study.cells[2].is_baseline);  // with nothing drafted the verifier makes no difference
  const Study drafts = load(kMinimal + "sweep: {model.draft: [a, b], drafter: [{type: model}]}\n");
  CHECK(drafts.cells[0].group == drafts.cells[1].group);
  const Study drafting =
      load(kMinimal + "baseline: {drafter: {type: model}}\nsweep: {model.draft: [a, b], drafter: [{type: x}]}\n");
  CHECK(drafting.cells[0].group != drafting.cells[1].group);
}

TEST_CASE("a study may be built on others: its own keys win, and mistakes name the file that they are in") {
  const TemporaryFolder folder;
  folder.write("base.yaml",
               "study: base\nmodel: {target: m, dtype: f32}\nworkload: {type: prompts, prompts: [a]}\npipeline: "
               "{drafter: {type: x, k: 1}}\n");
  folder.write("more.yaml", "run: {repeats: 3, seed: 4}\n");
  const auto load_text = [&](const std::string& text) { return load_study(folder.write("study.yaml", text), {}); };
  const Study study =
      load_text("include: [base.yaml, more.yaml]\nstudy: own\nrun: {seed: 9}\npipeline: {drafter: {type: none}}\n");
  CHECK(study.name == "own");
  CHECK(study.cells[0].run.repeats == 3);
  CHECK(study.cells[0].run.seed == 9);
  CHECK(study.cells[0].model.dtype == "f32");
  CHECK_FALSE(study.cells[0].pipeline.drafter.find("k"));
  folder.write("bad.yaml", "\nrun: {repaets: 3}\n");
  CHECK_THROWS_WITH(load_text("include: [base.yaml, bad.yaml]\n"),
                    Catch::Contains("bad.yaml:2: unknown key of section 'run' 'repaets'"));
  folder.write("loop.yaml", "include: study.yaml\n");
  CHECK_THROWS_WITH(load_text("include: loop.yaml\n"),
                    Catch::Contains("loop.yaml:1: include: ") && Catch::Contains("includes itself"));
  CHECK_THROWS_WITH(load_text("include: nothing.yaml\n"), Catch::Contains("study.yaml:1: nothing.yaml: no such file"));
}

TEST_CASE("sections may live in files of their own, beside the study") {
  const TemporaryFolder folder;
  folder.write("p.yaml", "drafter: {type: model}\n");
  folder.write("bad.yaml", "drafter: {type: model}\nverifer: {type: x}\n");
  const auto file = folder.write("study.yaml", kMinimal + "pipeline: p.yaml\n");
  CHECK(load_study(file, {}).cells[0].pipeline.drafter.find("type")->text() == "model");
  CHECK_THROWS_WITH(load_study(file, {"pipeline=bad.yaml"}),
                    Catch::Contains("bad.yaml:2: unknown key of section 'pipeline' 'verifer'"));
}

TEST_CASE("mistakes name file, line and the nearest known key at every level") {
  CHECK(mistake(kMinimal + "modle: {target: m}\n")
            .find("study.yaml:4: unknown key of the study 'modle' (did you mean 'model'?)") == 0);
  CHECK(mistake("study: s\nmodel: {target: m, drfat: n}\nworkload: {}\n")
            .find("study.yaml:2: unknown key of section 'model' 'drfat' (did you mean 'draft'?)") == 0);
  CHECK(mistake(kMinimal + "run: {repeat: 3}\n")
            .find("study.yaml:4: unknown key of section 'run' 'repeat' (did you mean 'repeats'?)") == 0);
  CHECK(mistake(kMinimal + "run: {repeats: 0}\n").find("study.yaml:4: repeats: expected a value of at least 1") == 0);
  CHECK(mistake(kMinimal, {"sampling.temprature=1"})
            .find("--set sampling.temprature: unknown key of section 'sampling' 'temprature'") == 0);
  CHECK(mistake("study: s\n").find("needs the key 'model'") != std::string::npos);
  CHECK(mistake("study: s\nmodle: {target: m}\nworkload: {}\n")
            .find("study.yaml:2: unknown key of the study 'modle' (did you mean 'model'?)") == 0);
  CHECK(mistake("study: s\nmodel: {traget: m}\nworkload: {}\n")
            .find("study.yaml:2: unknown key of section 'model' 'traget' (did you mean 'target'?)") == 0);
  CHECK(mistake("study: a/b\nmodel: {target: m}\nworkload: {}\n").find("study.yaml:1: study: 'a/b'") == 0);
  CHECK(mistake(kMinimal + "sweep: {sampling.temperature: 1}\n")
            .find("study.yaml:4: sweep: 'sampling.temperature' needs a list") == 0);
  CHECK(mistake(kMinimal + "sweep: {sampling.temperature: [1, 1]}\n")
            .find("study.yaml:4: sweep: the cell 'temperature=1' comes twice") == 0);
  CHECK(mistake(kMinimal + "baseline: {sampling.temperature: 1}\n")
            .find("study.yaml:4: baseline: 'sampling.temperature'") == 0);
  CHECK(mistake("[1, 2]").find("study.yaml:1: a study is a mapping") == 0);
}

TEST_CASE("environment variables in paths are expanded, and one that is not set is named with its place") {
  const Location where{"study.yaml", 7};
  ::setenv("FORETELL_TEST_FOLDER", "/tmp", 1);
  CHECK(expand_environment("${FORETELL_TEST_FOLDER}/x", where) == "/tmp/x");
  CHECK(resolve_path("${FORETELL_TEST_FOLDER}", where, "") == "/tmp");
  CHECK_THROWS_WITH(expand_environment("${FORETELL_NO_SUCH}/x", where),
                    Catch::Contains("study.yaml:7: the environment variable FORETELL_NO_SUCH is not set"));
  CHECK_THROWS_WITH(expand_environment("${open", where), Catch::Contains("study.yaml:7"));
  CHECK_THROWS_WITH(resolve_path("no/such/file", where, "/tmp"),
                    Catch::Contains("study.yaml:7: no/such/file: no such file or folder"));
}
