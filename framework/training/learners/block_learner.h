// What learners of heads that draft a block share (DFlash, DFlash2, DSpark): weights, the forward over many blocks of a
// text, the loss, files, and which drafts a text would accept.
//
// Contract: blocks start at anchors, rows with a loss that a function of the batch chooses; a block sees the target's
// states before its root and its own slots, exactly as the drafter does, and is to say what the target says of the
// tokens behind the root. Level i of a block counts exp(-i / decay). The target is frozen, embeddings and output are
// its own, and files have the published names (block_head.h).
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "framework/decoding/heads/state_reader.h"
#include "framework/kernels/training/distill_mix.h"
#include "framework/model/heads/block_head.h"
#include "framework/training/learner.h"

namespace foretell::training::learners {

struct BlockLearnerOptions {
  TargetSettings target;
  int layers = 2, block_size = 8, states = 3, anchors = 16;
  std::vector<int> layer_ids;
  std::optional<int> mask_token;
  double decay = 4;
  kernels::training::DistillMix mix{.ce = 0, .kl = 1, .tvd = 0};
  void declare(Parameters& p);
};

class BlockLearner : public Learner {
 public:
  const TargetSettings* target() const override { return &options_.target; }
  bool trains_model() const override { return false; }
  HiddenStateRequest required_hidden_states() const override;
  void set_up(const LearnerInputs& inputs) override;
  std::vector<autograd::TrainParameter> parameters() const override;
  autograd::TrainLoss loss(const autograd::TrainBatch& batch) const override;
  at::Tensor draft_hits(const autograd::TrainBatch& batch, int depth) const override;
  void save(const std::filesystem::path& folder) const override;
  std::optional<DraftedBy> drafter(const std::filesystem::path& folder, int depth) const override;
  std::string description() const override;

 protected:
  explicit BlockLearner(BlockLearnerOptions options) : options_(std::move(options)), reader_(std::vector<int>{}) {}

  // What one row that speaks knows: its slot's state, and what is true of it.
  struct Levels {
    at::Tensor state;     // [n, hidden]
    at::Tensor markov;    // [n, rank]; undefined without a Markov head
    at::Tensor previous;  // int64 [n]: the token before
    at::Tensor teacher;   // int64 [n]: the batch's row whose state the target says it with
    at::Tensor targets;   // int64 [n], -1 where the batch does not say
    at::Tensor weights;   // float32 [n], 0 there
  };

  virtual const char* name() const = 0;  // of the drafter
  virtual void shape(model::heads::BlockConfig&) const {}
  // What the loss has besides, already weighted: undefined where nothing.
  virtual at::Tensor more_loss(const autograd::TrainBatch&, const Levels&, std::vector<autograd::LossTerm>&) const {
    return {};
  }

  const at::Tensor& weight(const std::string& name) const { return weights_.at(name); }
  const model::heads::BlockConfig& config() const { return config_; }
  // The matrix and the states that make logits, the Markov head among them: [vocab, width] and [n, width].
  at::Tensor output_matrix() const;
  static at::Tensor output_states(const Levels& levels);

 private:
  // The blocks of a batch: their roots' rows, in the order of the batch's sequences.
  struct Blocks {
    struct Part {
      std::int64_t first_row, length, first, count;  // of a sequence, and of its blocks
    };
    std::vector<Part> parts;
    at::Tensor roots;  // int64 [blocks]
  };
  Blocks chosen_blocks(const autograd::TrainBatch& batch, bool all) const;
  at::Tensor slot_states(const autograd::TrainBatch& batch, const Blocks& blocks) const;  // [blocks, slots, hidden]
  at::Tensor attention(int layer, const at::Tensor& rows, const at::Tensor& context, const autograd::TrainBatch& batch,
                       const Blocks& blocks) const;
  at::Tensor between(const std::string& stem, const at::Tensor& rows,
                     const std::function<at::Tensor(const at::Tensor&)>& sublayer) const;
  at::Tensor markov_states(const at::Tensor& slots, const at::Tensor& previous) const;
  Levels levels_of(const autograd::TrainBatch& batch, const Blocks& blocks) const;
  at::Tensor best_tokens(const Levels& levels) const;

  BlockLearnerOptions options_;
  model::heads::BlockConfig config_;
  decoding::heads::StateReader reader_;
  std::shared_ptr<const model::LanguageModel> target_;
  std::string save_dtype_;
  std::vector<double> frequencies_;
  at::Tensor output_;                  // the target's head
  model::heads::HeadTensors weights_;  // leaves, by published name
};

}  // namespace foretell::training::learners
