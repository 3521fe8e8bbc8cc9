// The target's distributions along the answers of a run, on disk: what a study can be replayed from without the model.
//
// Contract: probs.bin is little-endian:
//   8 bytes "forelaws"; uint32 version (1), vocabulary, k (the most tokens stored of a distribution)
//   uint64 bytes of the header, a JSON object: sampling, stop tokens, limits, tokenizer, models, costs of rows, number
//   of answers for each answer: uint32 bytes of a JSON object (conversation, category, task, turn, finish), tokens of
//   the prompt, tokens of the answer;
//     that object; int32 prompt, int32 answer; for each token of the answer a distribution:
//     float32 log probability of the token, float32 rest, uint32 count, int32 tokens and float32 log probabilities
//     [count], most probable first (framework/replay/recorded_distributions.h says what they mean)
// A token of an answer takes 16 + 8 k bytes, 528 with the default of 64. The file appears under its name when it is
// complete; a disk that is full is one Error. Reading checks everything: sizes against the file's, tokens against the
// vocabulary, and that every distribution's mass is 1.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "framework/core/types.h"
#include "framework/cost/row_costs.h"
#include "framework/io/atomic_file.h"
#include "framework/replay/recorded_distributions.h"
#include "framework/sampling/sampling.h"

namespace foretell::results {

inline constexpr const char* kDistributionsFile = "probs.bin";
// A cell's recorded file, by its name today or before 0.2; none where nothing was recorded.
std::optional<std::filesystem::path> distributions_in(const std::filesystem::path& cell_folder);

// A file or folder, and what was in it.
struct RecordedSource {
  std::string path = {}, hash = {};  // both empty: there was none
};

struct DistributionHeader {
  int vocab = 0, top_k = 0;
  int context = 0;  // of the model
  int max_new_tokens = 0;
  int answers = 0;
  std::vector<Token> stop_tokens = {};
  SamplingOptions sampling = {};  // temperature and cuts
  std::string cell = {}, verifier = {};
  RecordedSource tokenizer = {}, target = {}, draft = {};
  std::shared_ptr<const cost::RowCosts> costs = {};
};

struct AnswerDistributions {
  std::string conversation = {}, category = {}, task = {};
  int turn = 0;
  std::string finish = {};  // as in record.h
  Tokens prompt = {};
  std::shared_ptr<const replay::RecordedDistributions> distributions = {};  // and the answer
};

class DistributionWriter {
 public:
  DistributionWriter(const std::filesystem::path& file, const DistributionHeader& header);
  void add(const AnswerDistributions& answer);
  void finish();  // without it nothing is left behind

 private:
  io::AtomicFile file_;
};

struct DistributionRecord {
  std::string name;  // of the file
  DistributionHeader header;
  std::vector<AnswerDistributions> answers;  // turns of a conversation follow one another, from the first

  static DistributionRecord load(const std::filesystem::path& file);
  static DistributionRecord parse(std::span<const std::byte> bytes, const std::string& name);

  // How much of the target's mass is not in what was stored, over all tokens.
  struct Rest {
    int tokens = 0;
    double sum = 0, highest = 0;
    void add(double rest);
    double mean() const { return tokens > 0 ? sum / tokens : 0.0; }
    std::string words() const;
  };
  Rest rest() const;
};

// The tokenizer's file in a model's folder, or a tokenizer's file itself; empty where there is none.
RecordedSource tokenizer_source(const std::filesystem::path& folder_or_file);

}  // namespace foretell::results
