/// Names of all rooms for tests, which may use any of them.
#pragma once

namespace foretell::analysis {}
namespace foretell::autograd {}
namespace foretell::bases {}
namespace foretell::cell {}
namespace foretell::chat {}
namespace foretell::cli {}
namespace foretell::cli::commands {}
namespace foretell::cost {}
namespace foretell::cost::operators {}
namespace foretell::datasets {}
namespace foretell::decoding {}
namespace foretell::decoding::heads {}
namespace foretell::drafters {}
namespace foretell::formats {}
namespace foretell::io {}
namespace foretell::kernels {}
namespace foretell::kernels::training {}
namespace foretell::measurement {}
namespace foretell::metrics {}
namespace foretell::model {}
namespace foretell::model::heads {}
namespace foretell::plugin {}
namespace foretell::replay {}
namespace foretell::report {}
namespace foretell::results {}
namespace foretell::runner {}
namespace foretell::study {}
namespace foretell::tables {}
namespace foretell::tokenizers {}
namespace foretell::tokenizers::models {}
namespace foretell::tokenizers::stages {}
namespace foretell::training {}
namespace foretell::training::learners {}
namespace foretell::unicode {}
namespace foretell::util {}
namespace foretell::workload {}

namespace foretell {

using namespace ::foretell::analysis;
using namespace ::foretell::autograd;
using namespace ::foretell::bases;
using namespace ::foretell::cell;
using namespace ::foretell::chat;
using namespace ::foretell::cli;
using namespace ::foretell::cli::commands;
using namespace ::foretell::cost;
using namespace ::foretell::cost::operators;
using namespace ::foretell::datasets;
using namespace ::foretell::decoding;
using namespace ::foretell::drafters;
using namespace ::foretell::formats;
using namespace ::foretell::io;
using namespace ::foretell::kernels;
using namespace ::foretell::kernels::training;
using namespace ::foretell::measurement;
using namespace ::foretell::metrics;
using namespace ::foretell::model;
using namespace ::foretell::model::heads;
using namespace ::foretell::plugin;
using namespace ::foretell::replay;
using namespace ::foretell::report;
using namespace ::foretell::results;
using namespace ::foretell::runner;
using namespace ::foretell::study;
using namespace ::foretell::tables;
using namespace ::foretell::tokenizers;
using namespace ::foretell::tokenizers::models;
using namespace ::foretell::tokenizers::stages;
using namespace ::foretell::training;
using namespace ::foretell::unicode;
using namespace ::foretell::util;
using namespace ::foretell::workload;

}  // namespace foretell
