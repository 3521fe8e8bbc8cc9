// Matrix products in bfloat16 while an object lives, where that is asked for.
//
// Contract: weights stay float32; ATen's autocast casts what enters a product. Built around a forward; the backward
// runs outside of it.
#pragma once

#include <ATen/autocast_mode.h>

namespace foretell::autograd {

class Autocast {
 public:
  Autocast(at::Device device, bool enabled) : type_(device.type()), before_(at::autocast::is_autocast_enabled(type_)) {
    if (enabled) at::autocast::set_autocast_dtype(type_, at::kBFloat16);
    at::autocast::set_autocast_enabled(type_, enabled);
    at::autocast::increment_nesting();
  }
  ~Autocast() {
    if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(type_, before_);
  }
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  at::DeviceType type_;
  bool before_;
};

}  // namespace foretell::autograd
