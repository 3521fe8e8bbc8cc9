// Files that are no plug-ins, down to the byte; tests/cli/plugin_test.py has those that a compiler makes.
#include "framework/plugin/plugin.h"

#include <link.h>

#include <cstdlib>
#include <cstring>
#include <fstream>

#include "framework/api/abi_tag.h"
#include "framework/api/drafter.h"
#include "framework/core/error.h"
#include "framework/plugin/plugin_file.h"
#include "tests/support/catch.h"
#include "tests/support/data.h"
#include "tests/support/seeds.h"

namespace foretell::testing {
namespace {

const std::string kMark(kPluginMark, sizeof kPluginMark);

// The header of a shared library, changed, with a tag behind it.
template <class Change>
std::string library(const Change& change, const std::string& tag = kMark + std::string(plugin_abi_tag()) + '\0') {
  ElfW(Ehdr) header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = sizeof(void*) == 8 ? ELFCLASS64 : ELFCLASS32;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = ET_DYN;
  header.e_phentsize = sizeof(ElfW(Phdr));
  change(header);
  return std::string(reinterpret_cast<const char*>(&header), sizeof header) + tag;
}

std::string message_for(const std::string& bytes) {
  const TemporaryFolder folder;
  const auto file = folder.path() / "some.so";
  std::ofstream(file, std::ios::binary) << bytes;
  try {
    load_plugin(file);
  } catch (const Error& error) {
    const std::string message = error.what();
    CHECK(message.starts_with(file.string() + ": "));
    CHECK(message.find('\n') == std::string::npos);
    return message;
  }
  return "";
}

void expect(const std::string& bytes, const std::string& words) {
  const std::string message = message_for(bytes);
  INFO(message << ", expected: " << words);
  CHECK(message.find(words) != std::string::npos);
}

const auto kUnchanged = [](ElfW(Ehdr)&) {};

TEST_CASE("a file that is no shared library is refused, however much it looks like one", "[plugin]") {
  expect("", "is no shared library");
  expect(ELFMAG, "is no shared library");
  expect(std::string(4096, '\0'), "is no shared library");
  expect(library([](auto& header) { header.e_type = ET_REL; }), "is no shared library");
  expect(library([](auto& header) { header.e_ident[EI_CLASS] = ELFCLASSNONE; }), "is no shared library");
  // The table of segments lies behind the file.
  const auto far = [](std::uint16_t count, std::uint16_t size) {
    return [=](auto& header) {
      header.e_phoff = ~decltype(header.e_phoff){0};
      header.e_phnum = count;
      header.e_phentsize = size;
    };
  };
  expect(library(far(1, sizeof(ElfW(Phdr)))), "cut short");
  expect(library(far(0xffff, 0xffff)), "cut short");
  expect(library(far(2, 1)), "cut short");
  // A segment that would end behind the file, and one whose end wraps around.
  for (const std::uint64_t size : {std::uint64_t{1} << 20, ~std::uint64_t{0}}) {
    ElfW(Phdr) segment{};
    segment.p_type = PT_LOAD;
    segment.p_offset = 16;
    segment.p_filesz = size;
    const auto behind_the_header = [](auto& header) {
      header.e_phoff = sizeof header;
      header.e_phnum = 1;
    };
    expect(library(behind_the_header, std::string(reinterpret_cast<const char*>(&segment), sizeof segment)),
           "cut short");
  }
}

TEST_CASE("the tag is compared before a library is loaded", "[plugin]") {
  expect(library(kUnchanged, ""), "has no ABI tag");
  expect(library(kUnchanged, kMark), "has no ABI tag");
  expect(library(kUnchanged, kMark + "Foretell 9 that never ends"), "has no ABI tag");
  expect(library(kUnchanged, kMark + std::string(5000, 'x') + '\0'), "has no ABI tag");
  expect(library(kUnchanged, kMark + "two\nlines" + '\0'), "has no ABI tag");
  expect(library(kUnchanged, kMark + "Foretell 9" + '\0'), "was built for Foretell 9; this is Foretell ");
  expect(library(kUnchanged), "cannot be loaded: ");
}

TEST_CASE("the seeds of the fuzzer of plug-in files are read or refused as they should be", "[plugin]") {
  int read = 0, refused = 0;
  testing::for_each_seed("plugin_file_fuzz", [&](const std::string& bytes) {
    try {
      read_plugin_tag(bytes, "seed");
      ++read;
    } catch (const Error& error) {
      CHECK_THAT(error.what(), Catch::StartsWith("seed: "));
      ++refused;
    }
  });
  CHECK(read == 2);
  CHECK(refused == 11);
}

struct Nobody final : Drafter {
  using Options = NoOptions;
  Nobody(const Options&, const BuildContext&) {}
  DraftBudget limits() const override { return {}; }
  DraftForm form() const override { return {}; }
  std::vector<DraftTree> draft(std::span<const DraftContext>) override { return {}; }
};

TEST_CASE("what a plug-in registers is not in the registry before its loader adds it", "[plugin]") {
  const auto& registry = Registry<Drafter>::instance();
  const auto entry = [] {
    return registry_entry<Drafter, Nobody>("nobody", {.summary = "drafts nothing"}, {"nobody.cpp", 7});
  };
  std::vector<PendingStrategy> pending;
  pending_strategies() = &pending;
  Registry<Drafter>::instance().add("nobody", entry());
  Registry<Drafter>::instance().add("nobody", entry());
  pending_strategies() = nullptr;
  REQUIRE(pending.size() == 2);
  CHECK(registry.entries().count("nobody") == 0);
  pending[0].add("libone.so");
  CHECK(registry.entries().at("nobody").plugin == "libone.so");
  CHECK_THROWS_WITH(pending[1].add("libtwo.so"), "drafter 'nobody' is already registered in nobody.cpp:7 of libone.so");
}

}  // namespace
}  // namespace foretell::testing
