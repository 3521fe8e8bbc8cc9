#include "tests/support/tile_emulator.h"
#include "tests/support/rooms.h"

#if defined(__x86_64__) && defined(__linux__)

#include <immintrin.h>
#include <signal.h>
#include <ucontext.h>

#include <cmath>
#include <cstring>

namespace foretell {
namespace {

constexpr int kTiles = 8, kMostRows = 16, kMostBytes = 64;

struct Tile {
  std::uint8_t rows = 0;
  std::uint16_t row_bytes = 0;
  unsigned char data[kMostRows][kMostBytes] = {};
};

Tile tiles[kTiles];
bool shaped = false;
std::int64_t carried_out = 0;
struct sigaction before;

// An instruction in the three-byte VEX form, with what its memory operand says.
struct Instruction {
  int opcode, prefix, reg, rm, vvvv;  // prefix: 0 none, 1 66, 2 F3, 3 F2
  bool memory;
  std::uintptr_t base, stride;  // base with displacement; the index register, scaled
  int length;
};

std::uintptr_t register_of(const ucontext_t& context, int number) {
  constexpr int kOrder[] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                            REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
  return static_cast<std::uintptr_t>(context.uc_mcontext.gregs[kOrder[number]]);
}

bool decode(const ucontext_t& context, Instruction& out) {
  const auto* const code = reinterpret_cast<const unsigned char*>(context.uc_mcontext.gregs[REG_RIP]);
  if (code[0] != 0xC4 || (code[1] & 0x1F) != 2) return false;
  const int extend_reg = (code[1] & 0x80) ? 0 : 8, extend_index = (code[1] & 0x40) ? 0 : 8,
            extend_base = (code[1] & 0x20) ? 0 : 8;
  const int modrm = code[4], mod = modrm >> 6;
  out = {.opcode = code[3],
         .prefix = code[2] & 3,
         .reg = (modrm >> 3 & 7) + extend_reg,
         .rm = (modrm & 7) + extend_base,
         .vvvv = ~(code[2] >> 3) & 15,
         .memory = mod != 3,
         .base = 0,
         .stride = 0,
         .length = 5};
  if (!out.memory) return true;
  int base = out.rm;
  if ((modrm & 7) == 4) {
    const int sib = code[out.length++];
    const int index = (sib >> 3 & 7) + extend_index;
    base = (sib & 7) + extend_base;
    if (index != 4) out.stride = register_of(context, index) << (sib >> 6);
  }
  if (mod == 0 && (base & 7) == 5) return false;  // relative to the instruction, or no base: not used here
  out.base = register_of(context, base);
  if (mod == 1) {
    out.base += static_cast<std::uintptr_t>(static_cast<std::intptr_t>(static_cast<signed char>(code[out.length++])));
  } else if (mod == 2) {
    std::int32_t displacement;
    std::memcpy(&displacement, code + out.length, sizeof displacement);
    out.base += static_cast<std::uintptr_t>(static_cast<std::intptr_t>(displacement));
    out.length += 4;
  }
  return true;
}

bool load_shapes(const unsigned char* from) {
  if (from[0] != 1 || from[1] != 0) return false;
  for (int t = 0; t < kTiles; ++t) {
    tiles[t] = {};
    std::memcpy(&tiles[t].row_bytes, from + 16 + 2 * t, 2);
    tiles[t].rows = from[48 + t];
    if (tiles[t].rows > kMostRows || tiles[t].row_bytes > kMostBytes ||
        (tiles[t].rows == 0) != (tiles[t].row_bytes == 0))
      return false;
  }
  shaped = true;
  return true;
}

float widened(const unsigned char* at) {
  std::uint16_t high;
  std::memcpy(&high, at, sizeof high);
  const std::uint32_t bits = std::uint32_t{high} << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

bool multiply(Tile& sums, const Tile& a, const Tile& b) {
  if (sums.rows != a.rows || b.rows != a.row_bytes / 4 || b.row_bytes != sums.row_bytes) return false;
  const unsigned before_this = _mm_getcsr();
  _mm_setcsr(0x9fc0);  // denormal operands and results are zero; to the nearest; no exceptions
  for (int m = 0; m < sums.rows; ++m) {
    for (int n = 0; n < sums.row_bytes / 4; ++n) {
      float even = 0, odd = 0, sum;
      for (int k = 0; k < b.rows; ++k) {
        even = std::fma(widened(a.data[m] + 4 * k), widened(b.data[k] + 4 * n), even);
        odd = std::fma(widened(a.data[m] + 4 * k + 2), widened(b.data[k] + 4 * n + 2), odd);
      }
      std::memcpy(&sum, sums.data[m] + 4 * n, sizeof sum);
      sum += even + odd;
      std::memcpy(sums.data[m] + 4 * n, &sum, sizeof sum);
    }
  }
  _mm_setcsr(before_this);
  return true;
}

bool usable(int tile) { return shaped && tile < kTiles && tiles[tile].rows > 0; }

bool carry_out(const Instruction& i) {
  constexpr int kNone = 0, kF3 = 2, kF2 = 3;
  if (i.opcode == 0x49 && i.prefix == kNone && i.memory)
    return load_shapes(reinterpret_cast<const unsigned char*>(i.base + i.stride));
  if (i.opcode == 0x49 && i.prefix == kNone) {
    shaped = false;
    return true;
  }
  if (!usable(i.reg)) return false;
  Tile& tile = tiles[i.reg];
  if (i.opcode == 0x49 && i.prefix == kF2 && !i.memory) {
    std::memset(tile.data, 0, sizeof tile.data);
    return true;
  }
  if (i.opcode == 0x4B && i.memory && (i.prefix == kF2 || i.prefix == kF3)) {
    for (int row = 0; row < tile.rows; ++row) {
      auto* const at = reinterpret_cast<unsigned char*>(i.base + static_cast<std::uintptr_t>(row) * i.stride);
      i.prefix == kF2 ? std::memcpy(tile.data[row], at, tile.row_bytes)
                      : std::memcpy(at, tile.data[row], tile.row_bytes);
    }
    return true;
  }
  if (i.opcode == 0x5C && i.prefix == kF3 && !i.memory)
    return usable(i.rm) && usable(i.vvvv) && multiply(tile, tiles[i.rm], tiles[i.vvvv]);
  return false;
}

void on_illegal(int, siginfo_t*, void* raw) {
  auto& context = *static_cast<ucontext_t*>(raw);
  Instruction instruction;
  if (!decode(context, instruction) || !carry_out(instruction)) {
    sigaction(SIGILL, &before, nullptr);  // it comes again, and then ends the program
    return;
  }
  ++carried_out;
  context.uc_mcontext.gregs[REG_RIP] += instruction.length;
}

}  // namespace

TileEmulator::TileEmulator() {
  carried_out = 0;
  struct sigaction action = {};
  action.sa_sigaction = on_illegal;
  action.sa_flags = SA_SIGINFO;
  sigemptyset(&action.sa_mask);
  sigaction(SIGILL, &action, &before);
}
TileEmulator::~TileEmulator() { sigaction(SIGILL, &before, nullptr); }
bool TileEmulator::possible() { return true; }
std::int64_t TileEmulator::instructions() const { return carried_out; }

}  // namespace foretell

#else

namespace foretell {
TileEmulator::TileEmulator() = default;
TileEmulator::~TileEmulator() = default;
bool TileEmulator::possible() { return false; }
std::int64_t TileEmulator::instructions() const { return 0; }
}  // namespace foretell

#endif
