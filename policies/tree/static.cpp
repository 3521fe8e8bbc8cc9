// A tree of fixed shape from a file: rank paths, as Medusa (arXiv 2401.10774) and EAGLE write theirs, or parents.
//
// `foretell tree optimize` writes such files. A path [0, 2] is the third most probable child of the most probable first
// token.
#include <filesystem>

#include "framework/core/error.h"
#include "framework/decoding/bases/rank_tree.h"

namespace foretell::policies::tree {
namespace {

struct StaticTreeOptions {
  ConfigValue file, paths;
  void declare(Parameters& p) {
    p.add("file", file,
          "a YAML or JSON file: [[0], [1], [0, 0]], {paths: ...} or {parents: [0, 0, 1]}; looked for beside the study "
          "too");
    p.add("paths", paths, "the same in place: [[0], [1], [0, 0]]");
  }
};

bases::RankTree read_shape(const StaticTreeOptions& options) {
  if (options.file.is_null() == options.paths.is_null()) fail("tree 'static' needs exactly one of file and paths");
  if (!options.paths.is_null()) return bases::RankTree::read(options.paths);
  const std::filesystem::path file = read_text(options.file, "file");
  const std::filesystem::path beside = std::filesystem::path(options.file.where().file).parent_path() / file;
  if (std::filesystem::exists(file)) return bases::RankTree::read(load_yaml(file));
  if (std::filesystem::exists(beside)) return bases::RankTree::read(load_yaml(beside));
  fail_at(options.file.where(), "file: {} does not exist", file.string());
}

class StaticTree final : public bases::ShapedTree {
 public:
  using Options = StaticTreeOptions;
  StaticTree(const Options& options, const BuildContext&) : bases::ShapedTree(read_shape(options)) {}
};

FORETELL_REGISTER(TreePolicy, StaticTree, "static",
                  {.summary = "a tree of fixed shape from a file of rank paths or parents",
                   .paper = {"Cai et al.", 2024, "2401.10774"},
                   .also_known_as = {"Medusa"}});

}  // namespace
}  // namespace foretell::policies::tree
