#include "framework/chat/own_template.h"

#include <nlohmann/json.hpp>
#include <vector>

#include "framework/chat/jinja.h"
#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/io/file_bytes.h"
#include "framework/io/json_reader.h"

namespace foretell::chat {
namespace {

using Messages = std::vector<Message>;

constexpr std::size_t kLongestConfig = std::size_t{16} << 20;
constexpr std::string_view kBos =
    "\x02"
    "bos"
    "\x03";  // stands for BOS where a template writes it

// A conversation whose contents show whether they are trimmed, and whether being empty or looking like a part of the
// template matters.
Messages conversation(int turns, bool system, int contents) {
  static const std::vector<std::vector<std::string>> kContents = {
      {"Be brief.", "one", "two", "three"},
      {" \n s\t", "\n a ", "  b\n\n", " c"},
      {"", "", "", ""},
      {"{{ x }}", "system", "<think>x</think>y", "{% if a %}"}};
  const std::vector<std::string>& texts = kContents[static_cast<std::size_t>(contents)];
  Messages messages;
  if (system) messages.push_back({"system", texts[0]});
  for (int turn = 0; turn < turns; ++turn) {
    if (turn > 0) messages.push_back({"assistant", texts[static_cast<std::size_t>(1 + (turn + 1) % 3)]});
    messages.push_back({"user", texts[static_cast<std::size_t>(1 + turn % 3)]});
  }
  return messages;
}
constexpr int kKindsOfContents = 4, kMostTurns = 4;

// A template, and what it may write.
struct Candidate {
  std::string_view text;
  const std::string& eos_token;
  std::optional<std::string> render(const Messages& messages, std::string* why = nullptr) const {
    return render_jinja(text, {.messages = messages, .bos_token = std::string(kBos), .eos_token = eos_token}, {}, why);
  }
};

// What the template puts where there is no system message, if that is a system message: what lies between the known
// template's parts of one.
std::optional<std::string> default_system(const ChatTemplate& known, const std::string& text) {
  const std::string mark = "\x02system\x03";
  const Messages marked = {{"system", mark}, {"user", "one"}}, plain = {{"user", "one"}};
  const std::string frame = known.render(marked, true);
  const std::size_t at = frame.find(mark);
  const std::string_view before = std::string_view(frame).substr(0, at),
                         behind = std::string_view(frame).substr(at + mark.size());
  if (text == known.render(plain, true) || text.size() < before.size() + behind.size()) return std::nullopt;
  if (!text.starts_with(before) || !text.ends_with(behind)) return std::nullopt;
  return text.substr(before.size(), text.size() - before.size() - behind.size());
}

bool renders_alike(const Candidate& own, const ChatTemplate& known) {
  const std::string bos(known.bos() == ChatTemplate::Bos::Written ? kBos : "");
  for (int turns = 1; turns <= kMostTurns; ++turns)
    for (const bool system : {false, true})
      for (int contents = 0; contents < kKindsOfContents; ++contents) {
        const Messages messages = conversation(turns, system, contents);
        const auto found = own.render(messages);
        if (!found || *found != bos + known.render(messages, true)) return false;
      }
  return true;
}

}  // namespace

std::optional<std::string> parse_own_template(std::string_view bytes, const std::string& name) {
  const Location where{name, std::nullopt};
  if (bytes.size() > kLongestConfig)
    fail_at(where, "{}, at most {} are read", counted(bytes.size(), "byte"), kLongestConfig);
  const nlohmann::json document = io::parse_json(bytes, where);
  const auto found = io::JsonView(document, "", where).find("chat_template");
  if (!found) return std::nullopt;
  if (!found->raw().is_array()) return found->string();
  for (std::size_t i = 0; i < found->size(); ++i)
    if (found->at(i).at("name").string() == "default") return found->at(i).at("template").string();
  return std::nullopt;
}

std::optional<OwnTemplate> find_own_template(const std::filesystem::path& folder) {
  const auto alone = folder / "chat_template.jinja", config = folder / "tokenizer_config.json";
  std::error_code ignored;
  if (std::filesystem::exists(alone, ignored)) return OwnTemplate{alone.string(), io::read_file_bytes(alone)};
  if (!std::filesystem::exists(config, ignored)) return std::nullopt;
  auto text = parse_own_template(io::read_file_bytes(config), config.string());
  return text ? std::optional(OwnTemplate{config.string(), std::move(*text)}) : std::nullopt;
}

std::optional<ChatTemplate> recognise_template(std::string_view text, const std::string& eos_token, std::string* why) {
  const Candidate own{text, eos_token};
  auto first = own.render({{"user", "one"}}, why);
  if (!first) return std::nullopt;
  const bool bos = first->starts_with(kBos);
  if (bos) first->erase(0, kBos.size());
  for (const std::string& name : ChatTemplate::names()) {
    if (name == "none") continue;
    for (const ChatTemplate& known : ChatTemplate::get(name).as_own(bos)) {
      const auto system = default_system(known, *first);
      ChatTemplate candidate = system ? known.with_default_system(*system) : known;
      if (renders_alike(own, candidate)) return candidate;
    }
  }
  return std::nullopt;
}

}  // namespace foretell::chat
