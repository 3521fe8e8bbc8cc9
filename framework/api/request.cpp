#include "framework/api/request.h"

namespace foretell {

const char* to_string(FinishReason reason) {
  switch (reason) {
    case FinishReason::StopToken: return "stop_token";
    case FinishReason::StopString: return "stop_string";
    case FinishReason::Length: return "length";
    case FinishReason::Context: return "context";
  }
  return "";
}

}  // namespace foretell
