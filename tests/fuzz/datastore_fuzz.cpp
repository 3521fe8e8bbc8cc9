// libFuzzer target: datastores of any bytes. What is accepted must be searchable: each suffix is found by its own
// beginning.
#include <cstddef>
#include <cstdint>

#include "framework/core/error.h"
#include "framework/datasets/datastore.h"
#include "tests/support/rooms.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const auto store = foretell::Datastore::parse({reinterpret_cast<const std::byte*>(data), size}, "fuzz");
    for (std::size_t rank = 0; rank < store.size(); ++rank) {
      foretell::Tokens beginning;
      for (std::size_t at = store.suffix(rank); at < store.size() && beginning.size() < 4; ++at)
        beginning.push_back(store.token(at));
      const auto found = store.find(beginning);
      FORETELL_CHECK(found.first <= rank && rank < found.last, "suffix {} is not among [{}, {})", rank, found.first,
                     found.last);
    }
  } catch (const foretell::Error&) {
  }
  return 0;
}
