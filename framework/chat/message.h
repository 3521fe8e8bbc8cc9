// One message of a conversation.
#pragma once

#include <string>

namespace foretell::chat {

struct Message {
  std::string role;  // system, user or assistant
  std::string content;
};

}  // namespace foretell::chat
