#include "framework/datasets/datastore.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <vector>

#include "framework/core/error.h"
#include "framework/core/text.h"
#include "framework/io/atomic_file.h"
#include "framework/io/mapped_file.h"

namespace foretell::datasets {
namespace {

static_assert(std::endian::native == std::endian::little, "datastores are little-endian");

constexpr std::string_view kDatastoreMagic = "foredata";
constexpr std::uint32_t kDatastoreVersion = 1;

struct DatastoreHeader {
  char magic[8];
  std::uint32_t version, vocab;
  std::uint64_t tokens;
};
static_assert(sizeof(DatastoreHeader) == 24);

DatastoreHeader read_datastore_header(std::span<const std::byte> bytes, const std::string& name) {
  DatastoreHeader header{};
  if (bytes.size() < sizeof(header))
    fail("{}: has {}; a datastore has at least {}", name, counted(bytes.size(), "byte"), sizeof(header));
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (std::string_view(header.magic, sizeof(header.magic)) != kDatastoreMagic)
    fail("{}: is no datastore: it does not start with \"{}\"; `foretell datastore build` makes one", name,
         kDatastoreMagic);
  if (header.version != kDatastoreVersion)
    fail("{}: is a datastore of version {}; expected {}", name, header.version, kDatastoreVersion);
  constexpr auto kMost = static_cast<std::uint32_t>(std::numeric_limits<Token>::max());
  if (header.vocab == 0 || header.vocab >= kMost)
    fail("{}: says that its vocabulary has {} tokens; expected 1 to {}", name, header.vocab, kMost - 1);
  if (header.tokens == 0 || header.tokens >= kMost)
    fail("{}: says that it holds {}; expected 1 to {}", name, counted(header.tokens, "token"), kMost - 1);
  const std::uint64_t expected = sizeof(header) + 2 * sizeof(Token) * header.tokens;
  if (bytes.size() != expected)
    fail("{}: has {}; its {} need {}", name, counted(bytes.size(), "byte"), counted(header.tokens, "token"), expected);
  return header;
}

// The suffix array is a permutation in which neighbours are in order: by their first tokens, then by the ranks of what
// follows these.
void check_suffix_order(const Datastore& store, const std::string& name) {
  const std::size_t n = store.size();
  std::vector<std::uint32_t> rank(n + 1, 0);  // from 1; what follows the last token is empty and comes first
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t start = store.suffix(i);  // a negative number is a huge one
    if (start >= n)
      fail("{}: suffix {} starts at {}, outside of the {}", name, i, static_cast<std::int64_t>(start),
           counted(n, "token"));
    if (rank[start] != 0) fail("{}: suffixes {} and {} both start at {}", name, rank[start] - 1, i, start);
    rank[start] = static_cast<std::uint32_t>(i + 1);
  }
  for (std::size_t i = 1; i < n; ++i) {
    const std::size_t a = store.suffix(i - 1), b = store.suffix(i);
    if (store.token(a) > store.token(b) || (store.token(a) == store.token(b) && rank[a + 1] > rank[b + 1]))
      fail("{}: suffixes {} and {} are not in order", name, i - 1, i);
  }
}

// The first of [first, last) for which `before` is false; true ones come first.
template <class Before>
std::size_t first_not(std::size_t first, std::size_t last, const Before& before) {
  while (first < last) {
    const std::size_t middle = first + (last - first) / 2;
    if (before(middle))
      first = middle + 1;
    else
      last = middle;
  }
  return first;
}

}  // namespace

Datastore Datastore::parse(std::span<const std::byte> bytes, const std::string& name) {
  const DatastoreHeader header = read_datastore_header(bytes, name);
  Datastore store;
  store.vocab_ = static_cast<int>(header.vocab);
  store.size_ = header.tokens;
  store.tokens_ = bytes.data() + sizeof(header);
  store.suffixes_ = store.tokens_ + store.size_ * sizeof(Token);
  for (std::size_t i = 0; i < store.size_; ++i)
    if (store.token(i) < 0 || store.token(i) > store.vocab_)
      fail("{}: token {} is {}, outside of the vocabulary of {}", name, i, store.token(i), store.vocab_);
  check_suffix_order(store, name);
  return store;
}

Datastore Datastore::open(const std::filesystem::path& file) {
  const auto mapped = std::make_shared<const io::MappedFile>(io::MappedFile::open(file));
  Datastore store = parse(mapped->bytes(), file.string());
  store.owner_ = mapped;
  return store;
}

void Datastore::write(const std::filesystem::path& file) const {
  DatastoreHeader header{{}, kDatastoreVersion, static_cast<std::uint32_t>(vocab_), size_};
  std::copy(kDatastoreMagic.begin(), kDatastoreMagic.end(), header.magic);
  io::AtomicFile out(file);
  out.write(std::as_bytes(std::span(&header, 1)));
  out.write(std::span(tokens_, size_ * sizeof(Token)));
  out.write(std::span(suffixes_, size_ * sizeof(Token)));
  out.commit();
}

// Below 0, 0 or above 0: how the text at `position` compares with the pattern, as far as that goes.
int Datastore::compare(std::size_t position, TokenSpan pattern) const {
  for (const Token wanted : pattern) {
    if (position == size_) return -1;
    const Token found = token(position++);
    if (found != wanted) return found < wanted ? -1 : 1;
  }
  return 0;
}

Datastore::Ranks Datastore::find(TokenSpan pattern) const {
  const std::size_t first = first_not(0, size_, [&](std::size_t i) { return compare(suffix(i), pattern) < 0; });
  if (first == size_ || compare(suffix(first), pattern) != 0) return {};  // the usual end of a search: no second one
  return {first, first_not(first, size_, [&](std::size_t i) { return compare(suffix(i), pattern) == 0; })};
}

}  // namespace foretell::datasets
