// A slow transformer in double precision, written from the formulas and from nothing else of ours but the config and
// the file readers.
//
// Contract: torch-free, no cache, no batching: logits of every position of one token sequence, computed from scratch.
// Optionally each position sees only the positions that `visible` allows, stands at a position of its own, and
// sublayers can be left out: that is what trees, masks and layer sets are checked against.
#pragma once

#include <array>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "framework/api/exit_policy.h"
#include "framework/core/types.h"
#include "framework/formats/model_config.h"
#include "framework/model/layers.h"
#include "tests/support/rooms.h"

namespace foretell::testing {

class ReferenceTransformer {
 public:
  explicit ReferenceTransformer(const std::filesystem::path& folder);

  struct Options {
    std::vector<int> positions;                        // default: 0, 1, 2, ...
    std::function<bool(int row, int column)> visible;  // default: column <= row
    std::optional<LayerSet> computed;
    std::optional<int> layers;      // the first so many, then the head
    std::vector<int> exits;         // by row behind how many layers it is answered; empty: all
    KvRule kv = KvRule::Propagate;  // what rows that have left are to the layers above
  };
  // [rows][vocab]
  std::vector<std::vector<double>> logits(TokenSpan tokens, const Options& options) const;
  std::vector<std::vector<double>> logits(TokenSpan tokens) const { return logits(tokens, Options()); }

 private:
  struct Matrix {
    int rows = 0;
    int columns = 0;
    std::vector<double> values;
  };
  using Vector = std::vector<double>;
  struct Heads {
    std::vector<Vector> q, k, v;
  };

  const Matrix& matrix(const std::string& name) const;
  bool has(const std::string& name) const { return weights_.contains(name); }
  Vector times(const std::string& stem, const Vector& given) const;  // with the bias if the checkpoint has one
  Vector norm(const std::string& stem, const Vector& x, std::optional<double> eps = std::nullopt) const;
  void rotate(Vector& head, int position) const;
  Heads project(const std::string& stem, const Vector& x) const;
  Heads project_latent(const std::string& stem, const Vector& x) const;
  // `last`: by row the heads of the last layer that it went through.
  std::vector<Vector> attention(int layer, const std::vector<Vector>& x, const Options& options,
                                std::vector<Heads>& last) const;
  Vector gated(const std::string& stem, const Vector& x, const std::array<const char*, 3>& names) const;
  Vector expert_weights(const std::string& block, const Vector& x) const;
  Vector mlp(int layer, const Vector& x) const;

  ModelConfig config_;
  std::map<std::string, Matrix> weights_;
};

}  // namespace foretell::testing
