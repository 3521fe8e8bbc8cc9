// What every drafter with a learned head takes, and how its head is found.
//
// Contract: `head` is a folder in the head's published layout, or random: an untrained one. An Error at the option's
// line where it is missing, or where the target is no model that lends its states and parts. The head's file is one of
// those that a run's manifest holds.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "framework/api/build_context.h"
#include "framework/decoding/bases/level_drafter.h"

namespace foretell::decoding::heads {

struct HeadOptions {
  std::string head;
  std::int64_t seed = 0;
  bases::ModelDraftOptions draft = {};
  Location where = {};
  void declare(Parameters& p, std::vector<std::string> aliases);

  // Its folder or file; none where an untrained one is asked for. `drafter` is what an Error calls it.
  std::optional<std::filesystem::path> find(const BuildContext& context, std::string_view drafter) const;
};

// A head with file_of() and load(path, target); `random` makes an untrained one.
template <class Head, class Random>
std::shared_ptr<const Head> head_of(const HeadOptions& options, const BuildContext& context, std::string_view drafter,
                                    const Random& random) {
  const auto path = options.find(context, drafter);
  if (!path) return std::make_shared<Head>(random(static_cast<std::uint64_t>(options.seed), context.target));
  context.file(Head::file_of(*path).string());  // asked for by its own name, it is in the manifest
  return std::make_shared<Head>(Head::load(*path, context.target));
}
template <class Head>
std::shared_ptr<const Head> head_of(const HeadOptions& options, const BuildContext& context, std::string_view drafter) {
  return head_of<Head>(options, context, drafter, Head::random);
}

// `tree` for a drafter that has one of its own unless it or the pipeline names another.
bases::ModelDraftOptions with_tree(bases::ModelDraftOptions draft, const BuildContext& context, ConfigValue tree);

}  // namespace foretell::decoding::heads
