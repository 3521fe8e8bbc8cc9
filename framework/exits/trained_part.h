// The file of trained parts that an exit policy cannot do without: where it is, and at which layers that lets it ask.
//
// Contract: a missing key, a layer that the file is not about and a file about no layer of the model are Errors at the
// policy's line. `random` stands for an untrained part, for tests. Includes no LibTorch.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "framework/api/build_context.h"
#include "framework/exits/confidence_exit.h"

namespace foretell::exits {

class TrainedPart {
 public:
  TrainedPart(std::string policy, std::string key, std::string file_name)
      : policy_(std::move(policy)), key_(std::move(key)), file_name_(std::move(file_name)) {}

  void declare(Parameters& p);
  void require() const;
  bool random() const { return path_ == "random"; }
  const Location& where() const { return where_; }
  // What `load` makes of the path; its Errors carry the policy's line.
  template <class Load>
  auto load(const BuildContext& context, const Load& load) const {
    return placed_at(where_, [&] { return load(context.file(*path_)); });
  }
  // Of the layers of a model where a policy may ask: those that `has` a part, unless `chosen` names them.
  std::vector<int> layers(const ExitLayers& chosen, int num_layers, const std::function<bool(int)>& has) const;

 private:
  std::optional<std::string> path_ = {};
  std::string policy_, key_, file_name_;
  Location where_ = {};
};

}  // namespace foretell::exits
