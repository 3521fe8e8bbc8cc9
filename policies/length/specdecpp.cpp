// Stops by a trained head that predicts whether drafted tokens will be accepted (Huang et al. 2024, "SpecDec++", arXiv
// 2405.19715).
//
// The head reads the draft model's final state behind a drafted token and gives a, the probability that this token is
// accepted if those before it are: D blocks x + SiLU(W x + b), a linear layer to two numbers, softmax, the second one.
// The draft ends when 1 - a_1 a_2 ... a_j > threshold: when it is likely that something in it is rejected already,
// which is the optimal rule in the paper's model. Token j stays in the draft.
//
// The file is a safetensors file, or a folder with model.safetensors. Its tensors, as the released heads name them:
// model.{i}.linear.weight [H, H], model.{i}.linear.bias [H] for i < D, then model.{D}.weight [2, H], model.{D}.bias
// [2]. The released code makes its blocks from one object, so files may hold only the first of them: a block that is
// missing is the one before it. H must be the draft model's hidden size. For chains: in a tree the states are those of
// the path that is the most probable one at each level.
#include <Eigen/Core>

#include <cmath>
#include <filesystem>

#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/decoding/bases/sequence_states.h"
#include "framework/formats/safetensors.h"
#include "framework/formats/stored_numbers.h"

namespace foretell::policies::length {
namespace {

struct SpecDecPpOptions {
  ConfigValue head;
  double threshold = 0.7;
  int min_tokens = 2;
  int max_tokens = 20;
  void declare(Parameters& p) {
    p.add("head", head, "the acceptance head: a safetensors file or a folder with model.safetensors",
          {.aliases = {"acceptance_head"}, .required = true});
    p.add("threshold", threshold, "the draft ends when a rejection in it is more likely than this",
          {.min = 0, .max = 1, .aliases = {"h"}});
    p.add("min_tokens", min_tokens, "drafted whatever the head says", {.min = 0, .max = 4096});
    p.add("max_tokens", max_tokens, "never more", {.min = 1, .max = 4096, .aliases = {"num_speculative_tokens"}});
    if (min_tokens > max_tokens)
      throw Error(p.where(), fmt::format("min_tokens {} is above max_tokens {}", min_tokens, max_tokens));
  }
};

using HeadMatrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

struct HeadLayer {
  HeadMatrix weight;
  Eigen::VectorXf bias;
};

class AcceptanceHead {
 public:
  static AcceptanceHead load(const std::string& path) {
    const std::filesystem::path file = std::filesystem::is_directory(path)
                                           ? std::filesystem::path(path) / "model.safetensors"
                                           : std::filesystem::path(path);
    const formats::SafetensorsFile tensors = formats::SafetensorsFile::open(file);
    const auto has = [&](const std::string& name) { return tensors.tensors().count(name) > 0; };
    AcceptanceHead head;
    const int last = last_layer(tensors, file.string());
    const auto width = static_cast<int>(tensors.at(fmt::format("model.{}.weight", last)).shape.at(1));
    for (int i = 0; i < last; ++i) {
      const std::string name = fmt::format("model.{}.linear", i);
      if (!has(name + ".weight") && !head.blocks_.empty())
        head.blocks_.push_back(head.blocks_.back());
      else
        head.blocks_.push_back(layer(tensors, name, width, width, file.string()));
    }
    head.last_ = layer(tensors, fmt::format("model.{}", last), 2, width, file.string());
    return head;
  }

  int width() const { return static_cast<int>(last_.weight.cols()); }

  double acceptance(std::span<const float> state) const {
    Eigen::VectorXf x = Eigen::Map<const Eigen::VectorXf>(state.data(), static_cast<Eigen::Index>(state.size()));
    for (const HeadLayer& block : blocks_) {
      const Eigen::VectorXf y = block.weight * x + block.bias;
      x.array() += y.array() / (1 + (-y.array()).exp());
    }
    const Eigen::VectorXf out = last_.weight * x + last_.bias;
    return 1 / (1 + std::exp(static_cast<double>(out[0]) - static_cast<double>(out[1])));
  }

 private:
  // The number of the layer that is no block: its matrix has two rows.
  static int last_layer(const formats::SafetensorsFile& tensors, const std::string& file) {
    constexpr int kMostBlocks = 64;
    for (int i = 0; i <= kMostBlocks; ++i) {
      const auto found = tensors.tensors().find(fmt::format("model.{}.weight", i));
      if (found == tensors.tensors().end()) continue;
      const auto& shape = found->second.shape;
      if (shape.size() != 2 || shape[0] != 2 || shape[1] < 1 || shape[1] > 1 << 20)
        fail("{}: model.{}.weight has shape {}, expected [2, hidden size]", file, i, formats::to_string(shape));
      return i;
    }
    fail("{}: no acceptance head: it has no tensor model.{{D}}.weight of shape [2, hidden size]", file);
  }

  static HeadLayer layer(const formats::SafetensorsFile& tensors, const std::string& name, int rows, int columns,
                         const std::string& file) {
    HeadLayer out;
    out.weight = HeadMatrix(rows, columns);
    out.bias = Eigen::VectorXf(rows);
    read(tensors, name + ".weight", {rows, columns}, out.weight.data(), file);
    read(tensors, name + ".bias", {rows}, out.bias.data(), file);
    return out;
  }

  static void read(const formats::SafetensorsFile& tensors, const std::string& name,
                   const std::vector<std::int64_t>& shape, float* to, const std::string& file) {
    const formats::StoredTensor& tensor = tensors.at(name);
    if (tensor.shape != shape)
      fail("{}: {} has shape {}, expected {}", file, name, formats::to_string(tensor.shape), formats::to_string(shape));
    const bool readable = tensor.type == formats::StoredType::F32 || tensor.type == formats::StoredType::F16 ||
                          tensor.type == formats::StoredType::BF16 || tensor.type == formats::StoredType::F64;
    if (!readable) fail("{}: {} is of type {}, expected F32, F16, BF16 or F64", file, name, name_of(tensor.type));
    const std::size_t size = formats::bytes_of(tensor.type);
    for (std::size_t i = 0; i * size < tensor.bytes.size(); ++i)
      to[i] = formats::read_stored(tensor.type, tensor.bytes.data() + i * size);
  }

  std::vector<HeadLayer> blocks_;
  HeadLayer last_;
};

class SpecDecPpPolicy final : public DraftPolicy {
 public:
  using Options = SpecDecPpOptions;
  SpecDecPpPolicy(const Options& options, const BuildContext&) : options_(options) {
    const std::string path = read_text(options.head, "head");
    if (!std::filesystem::exists(path)) fail_at(options.head.where(), "head: {} does not exist", path);
    head_ = AcceptanceHead::load(path);
  }

  void plan(std::span<const PolicyView> batch, std::span<DraftBudget> budgets) override {
    accepted_.begin_round(batch);
    for (DraftBudget& budget : budgets) budget.depth = std::min(budget.depth, options_.max_tokens);
  }

  bool wants_hidden_states() const override { return true; }

  bool should_continue(const DraftStep& step) override {
    double& all_accepted = accepted_.at(step.slot).probability;
    if (step.depth == 1) {  // the state is that of the anchor: no drafted token yet
      all_accepted = 1;
      return true;
    }
    if (step.hidden.empty()) return true;
    if (static_cast<int>(step.hidden.size()) != head_.width())
      fail_at(options_.head.where(), "policy 'specdecpp': the head reads states of {}, the draft model's have {}",
              counted(head_.width(), "number"), step.hidden.size());
    all_accepted *= head_.acceptance(step.hidden);
    return step.depth <= options_.min_tokens || 1 - all_accepted <= options_.threshold;
  }

 private:
  struct Draft {
    double probability = 1;  // that all tokens so far are accepted
  };
  Options options_;
  AcceptanceHead head_;
  bases::SequenceStates<Draft> accepted_;
};

FORETELL_REGISTER(DraftPolicy, SpecDecPpPolicy, "specdecpp",
                  {.summary = "ends the draft when a trained head holds a rejection in it for likely",
                   .paper = {"Huang et al.", 2024, "2405.19715"},
                   .also_known_as = {"SpecDec++"},
                   .taxonomy = {.focus = "model-centric", .ryu2024 = "dependent draft model"}});

}  // namespace
}  // namespace foretell::policies::length
