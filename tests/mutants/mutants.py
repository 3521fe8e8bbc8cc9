"""The faults that `make mutants` plants, and the tests that are expected to catch each.

`at` is a piece of the source that stands in the file exactly once; what is replaced is what stands between « and », or all of it. An expression is
replaced by an expression of the same type, a statement (it ends with ; or }) by any number of statements. `caught_by` names test cases as
"folder: name" and scripts as "cli: script"; they are run in this order until one fails.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    name: str
    file: str
    fault: str  # what is wrong, for people
    at: str
    becomes: str
    caught_by: tuple[str, ...]
    may_hang: bool = False  # running into the time limit counts as caught


CHAIN = "verifiers: every lossless verifier keeps the target's distribution on a chain of 5, by enumeration"
TREES = "verifiers: every lossless verifier keeps the target's distribution on trees, by enumeration"

VERIFIERS = (
    Mutant("rejection_ratio", "framework/decode/rejection_walk.cpp", "accepts with probability q / p",
           "rng.bernoulli(«mass > 0 ? (*p.now)[token] / mass : 0.0»)", "(*p.now)[token] > 0 ? mass / (*p.now)[token] : 0.0", (CHAIN,)),
    Mutant("rejection_ratio_from_fourth", "framework/decode/rejection_walk.cpp", "the same from the 4th drafted token on",
           "rng.bernoulli(«mass > 0 ? (*p.now)[token] / mass : 0.0»)",
           "draft.depth(proposal.node) < 4 ? (mass > 0 ? (*p.now)[token] / mass : 0.0) : (*p.now)[token] > 0 ? mass / (*p.now)[token] : 0.0",
           (CHAIN,)),
    Mutant("rejection_residual", "framework/decode/rejection_walk.cpp", "after a rejection the target's distribution stays as it was",
           "p.subtract(q, lenience_);", "", (CHAIN,)),
    Mutant("rejection_siblings", "framework/decode/rejection_walk.cpp", "a token drawn without replacement stays in q",
           "if («drawn.kind == Draws::WithoutReplacement»)\n      if (auto rest", "false", (TREES,)),
    Mutant("rejection_lenience", "framework/decode/rejection_walk.cpp", "lenience is left out of the acceptance",
           "const double mass = «lenience_ * q[token]»;", "q[token]", ("verifiers: lenient divides by a share of q, and at temperature 0 goes by the share of the best token",)),
    Mutant("walk_bonus", "framework/decode/walk_verifier.cpp", "the bonus token is drawn from the anchor's distribution",
           "verdict.next = scores.law(«at»).draw(rng);", "kAnchor", (CHAIN,)),
    Mutant("greedy_argmax", "verifiers/greedy.cpp", "every token is compared with the anchor's argmax", "match(draft, at, scores.argmax(«at»))",
           "kAnchor", ("conformance: temperature 0: every drafter with every lossless verifier emits the greedy text",)),
    Mutant("match_redraws", "verifiers/sample_then_match.cpp", "after a mismatch another token is drawn",
           "return «match(draft, at, scores.law(at).draw(rng))»;",
           "[&] { Decision one = match(draft, at, scores.law(at).draw(rng)); return one.accepted ? one : end_with(scores.law(at).draw(rng)); }()",
           (TREES,)),
    Mutant("one_hot_renormalise", "verifiers/sequential_one_hot.cpp", "p is not renormalised without the tokens that failed",
           "left -= mass;", "", (TREES,)),
    Mutant("multi_step_order", "verifiers/multi_step.cpp", "the shuffled order holds the first proposal several times",
           "shuffled.push_back(rest[«next»]);", "std::size_t{0}", (TREES,)),
    Mutant("transport_unmatched", "verifiers/optimal_transport.cpp", "a drafted set is always matched",
           "chances.push_back(«std::max(found->probability - taken, 0.0)»);", "0.0", (TREES,)),
    Mutant("spectr_correction", "verifiers/spectr.cpp", "the correction forgets the number of draws",
           "const double share = «any_of(beta, draws) / beta»;", "1.0", (TREES,)),
    Mutant("spectr_factor", "verifiers/spectr.cpp", "rho is as large as it may be: lossless, and accepts less",
           "  }\n  return «(low + high) / 2»;", "static_cast<double>(draws)",
           ("verifiers: spectr accepts what its equation for rho promises",)),
    Mutant("block_weight", "verifiers/block.cpp", "a node's weight forgets its parent's",
           "weight = «std::min(1.0, weight * scores.law(at)[token] / q[token])»;", "std::min(1.0, scores.law(at)[token] / q[token])", (CHAIN,)),
    Mutant("block_weight_from_fourth", "verifiers/block.cpp", "p and q are swapped from the 4th drafted token on",
           "weight = «std::min(1.0, weight * scores.law(at)[token] / q[token])»;",
           "steps.size() < 3 ? std::min(1.0, weight * scores.law(at)[token] / q[token]) : "
           "std::min(1.0, weight * q[token] / std::max(scores.law(at)[token], 1e-300))",
           (CHAIN,)),
    Mutant("traversal_weight", "verifiers/traversal.cpp", "a rejected leaf leaves its parent's weight at 1",
           "state.weight = «rest > 0 ? left.mass / rest : 1.0»;", "1.0", (CHAIN,)),
    Mutant("traversal_weight_from_fourth", "verifiers/traversal.cpp", "p and q are swapped from the 4th drafted token on",
           "states_[proposal.node].weight = «mass > 0 ? std::min(1.0, states_[at].weight * p(at)[token] / mass) : 0.0»;",
           "path_.size() < 4 ? (mass > 0 ? std::min(1.0, states_[at].weight * p(at)[token] / mass) : 0.0) : "
           "std::min(1.0, states_[at].weight * mass / std::max(p(at)[token], 1e-300))",
           (CHAIN,)),
    Mutant("biased_control", "verifiers/nucleus_biased.cpp", "the biased control accepts nothing and is lossless",
           "if («scores.law(draft.node(node).parent).draw(rng) != draft.node(node).token») break;", "true", ("verifiers: the biased control is found on every shape",)),
    Mutant("lenient_greedy", "verifiers/lenient.cpp", "at temperature 0 only tokens better than the best pass",
           "scores.logits(at);\n    return «logits[draft.node(proposal.node).token] >= logits[scores.argmax(at)] + slack_»;",
           "logits[draft.node(proposal.node).token] >= logits[scores.argmax(at)] - slack_",
           ("verifiers: lenient divides by a share of q, and at temperature 0 goes by the share of the best token",)),
    Mutant("fuzzy_threshold", "verifiers/fuzzy.cpp", "accepts outright where the distributions differ",
           "return «divergence(scores.law(at), draft.law(proposal.law).q, options_.divergence) <= options_.threshold»;",
           "divergence(scores.law(at), draft.law(proposal.law).q, options_.divergence) > options_.threshold",
           ("verifiers: fuzzy accepts outright where the distributions are near, else by rejection",)),
    Mutant("mars_ratio", "verifiers/mars.cpp", "the runner-up passes where the margin is large",
           "second > 0 && «second / first > theta_»", "second / first < theta_",
           ("verifiers: mars passes the runner-up where its logit is near the best one's",)),
    Mutant("relaxed_delta", "verifiers/relaxed_top_k.cpp", "a token must be more probable than the best by delta",
           "p[token] < «p[p.mode()] - options_.delta»", "p[p.mode()] + options_.delta",
           ("verifiers: relaxed acceptance is for the k best within delta of the best",)),
    Mutant("typical_threshold", "verifiers/typical.cpp", "the larger of the two thresholds holds",
           "«std::min(options_.epsilon, options_.delta * std::exp(-p.entropy()))»", "std::max(options_.epsilon, options_.delta * std::exp(-p.entropy()))",
           ("verifiers: typical acceptance: above the lower of two thresholds, and the next token is typical too",)),
    Mutant("synthetic_depth", "verifiers/synthetic.cpp", "every depth has the first one's rate",
           "options_.rates.at(«draft.depth(first)»)", "1", ("verifiers: synthetic accepts with the rate of the depth",)),
)

DRAFTERS = (
    Mutant("cascade_first_law", "drafters/cascade.cpp", "later tokens of an inner round are reported with the first one's distribution",
           "line.outer.add_law(«laws[i]», Draws::WithoutReplacement)", "laws.front()",
           ("drafters: a cascade's tokens stand with the draft model's distribution at their own place",)),
    Mutant("cascade_budget", "drafters/cascade.cpp", "the inner drafter may draft one token more than there is room for",
           "std::min({limits.depth, «line->room() - 1», positions})", "line->room()",
           ("drafters: a cascade asks its inner drafter for no more than it can use",)),
    Mutant("merged_laws", "drafters/merged.cpp", "all proposals of a member come from its first distribution",
           "«laws[proposal.law]»);", "laws.front()", ("drafters: merged drafts keep for each token the distribution that it was drawn from",)),
    Mutant("first_of_threshold", "drafters/first_of.cpp", "what a draft promises is not asked",
           "«draft.expectation().value_or(draft.depth()) >= min_expected_»", "true", ("drafters: first_of passes a draft that promises too little",)),
    Mutant("hybrid_threshold", "drafters/hybrid.cpp", "the copying drafter is used whatever it promises",
           "member == 1 || «draft.expectation().value_or(draft.depth()) >= threshold_»", "true", ("drafters: hybrid asks its model where copying promises too little",)),
    Mutant("lookup_offset", "drafters/prompt_lookup.cpp", "copies from one token too early", "const int from = «*place + n»;", "*place + n - 1",
           ("decode: prompt lookup by the original's rule: leftmost match whose whole continuation fits",)),
    Mutant("lookup_match", "drafters/prompt_lookup.cpp", "keeps the most recent match where the first is asked for",
           "if (!added && «!keep_first_»)", "true", ("decode: prompt lookup by the original's rule: leftmost match whose whole continuation fits",)),
    Mutant("draft_penalties", "framework/decode/model_drafter.cpp", "penalties of a drafted token forget the path to it",
           "sampler.adjust(out, {context.request.prompt, context.generated(), «path»});", "TokenSpan()",
           ("decode: penalties follow a draft model's own path: the target as its own draft is accepted whole",)),
    Mutant("draft_law_reported", "framework/decode/model_drafter.cpp", "siblings drawn without replacement are called independent",
           "«options_.replacement ? Draws::IndependentDraws : Draws::WithoutReplacement»);", "Draws::IndependentDraws", ("drafters: a draft says how its siblings were drawn",)),
    Mutant("draft_cache", "framework/decode/model_session.cpp", "a draft model's cache keeps rows of another text",
           "&& «tokens_[common] == prefix[common]») ++common;", "true", ("drafters: a draft goes on from what was committed, whatever was drafted before",)),
)

LOOP = (
    Mutant("clip_remaining", "framework/decode/decoder.cpp", "drafts one token more than the answer has room for",
           "std::min({budget.depth, «running.sequence.remaining() - 1»,", "running.sequence.remaining()",
           ("decode: a draft is never deeper than the answer has room for",)),
    Mutant("clip_context", "framework/decode/decoder.cpp", "drafts one token more than the context has positions for",
           "«running.session->positions_left() - 1»});", "running.session->positions_left()", ("decode: a draft is never deeper than the context has positions for",)),
    Mutant("rng_position", "framework/decode/decoder.cpp", "every round draws the same random numbers",
           "request.id, «static_cast<std::uint32_t>(running.sequence.committed().size())», purpose", "std::uint32_t{0}",
           ("decode: random numbers differ by seed, request, position and purpose",)),
    Mutant("rng_request", "framework/decode/decoder.cpp", "all requests draw the same random numbers",
           "make_rng({request.seed, «request.id», static_cast", "std::uint64_t{0}", ("decode: random numbers differ by seed, request, position and purpose",)),
    Mutant("rng_purpose", "framework/decode/decoder.cpp", "acceptance is decided by the numbers that drew the draft",
           "committed().size()), «purpose»}", "RngPurpose::Draft", ("decode: random numbers differ by seed, request, position and purpose",)),
    Mutant("phase_times", "framework/decode/decoder.cpp", "a batch's score time is not divided among its sequences",
           "ns.score = «watch.lap_ns() / share»;", "watch.lap_ns()", ("decode: phase times of a batch are shared among its sequences",)),
    Mutant("round_accepted", "framework/decode/decoder.cpp", "tokens accepted beyond the end are counted",
           "drafts[i].depth(), «appended.accepted», appended.emitted", "static_cast<int>(verdicts[i].accepted.size())",
           ("decode: what is accepted beyond the end of an answer is not counted",)),
    Mutant("stop_inside_draft", "framework/decode/sequence.cpp", "a stop token inside a draft does not end the answer",
           "if (finished()) return out;", "", ("decode: a sequence stops at stop tokens, stop strings and limits, inside a draft too",)),
    Mutant("stop_string_tail", "experiments/stops.cpp", "a stop string that spans tokens is not found",
           "tail_ += decoder_.push(token);", "tail_ = decoder_.push(token);", ("experiments: a stop string is found wherever its tokens end",)),
    Mutant("keep_rows", "framework/decode/model_target_session.cpp", "the target keeps the first rows of a tree in place of the accepted ones",
           "rows.push_back(«row_of_node_[node]»);", "static_cast<int>(rows.size())", ("decode: speculation on a transformer emits the plain greedy text",)),
    Mutant("score_path", "framework/decode/warped_scores.cpp", "penalties of a drafted node forget the path to it",
           "sampler_.adjust(logits, {context_.prompt, context_.generated, «path»});", "TokenSpan()", ("decode: penalties and bias follow each drafted path",)),
)

SAMPLING = (
    Mutant("coin_bits", "framework/base/rng.cpp", "an acceptance coin has 8 bits", "return «uniform() < probability»;",
           "static_cast<double>(next() >> 56) * 0x1.0p-8 < probability", ("base: a coin is as fine as its probability",)),
    Mutant("temperature", "framework/sampling/sampling.cpp", "multiplies by the temperature", "logits[argmax_checked(logits)], «1 / temperature», weights",
           "temperature", ("sampling: temperature scales logits",)),
    Mutant("top_k", "framework/sampling/sampling.cpp", "top-k keeps one token too many", "highest(logits, «options.top_k»))", "options.top_k + 1",
           ("sampling: top-k keeps exactly k, the lowest ids among ties",)),
    Mutant("top_p", "framework/sampling/sampling.cpp", "top-p drops the token that crosses it", "(count == 0 || «sum < top_p * mass»)",
           "sum + kept[count].probability < top_p * mass", ("sampling: top-p keeps the token that crosses it",)),
    Mutant("min_p", "framework/sampling/sampling.cpp", "min-p asks for twice the share", "return «c.probability < min_p * top»;",
           "c.probability < 2 * min_p * top", ("sampling: top-p is measured after top-k, min-p against the highest probability",)),
    Mutant("repetition_penalty", "framework/sampling/sampling.cpp", "the penalty raises negative logits",
           "«logits[t] > 0 ? logits[t] / penalty : logits[t] * penalty»;", "logits[t] / penalty", ("sampling: penalties and bias act on logits, by path",)),
    Mutant("presence_penalty", "framework/sampling/sampling.cpp", "drafted tokens do not count as generated", "collect(produced, context.path);", "",
           ("sampling: penalties and bias act on logits, by path",)),
    Mutant("excess_weight", "framework/sampling/law.cpp", "the weight of p is left out where both distributions are dense",
           "positive_part(p.weights_, q.weights_, «weight», out.weights_)", "1.0",
           ("sampling: residual, removal and overlap agree with their definitions in every pair of storages",)),
)

MEASURES = (
    Mutant("same_tokens", "experiments/summary.cpp", "answers are always the baseline's", "same += «runs.first().tokens == other->second.first().tokens»;",
           "true", ("experiments: answers that differ from the baseline's are counted",)),
    Mutant("speedup_mean_of_ratios", "experiments/summary.cpp", "the speed-up is the mean of the requests' ratios",
           "out.speedup = «*paired / *against»;",
           "[&] { double sum = 0, n = 0; for (const auto& [key, runs] : method) if (const auto other = baseline.find(key); other != baseline.end()) "
           "{ sum += static_cast<double>(runs.first().tokens.size()) / runs.median_ns(true) / "
           "(static_cast<double>(other->second.first().tokens.size()) / other->second.median_ns(true)); ++n; } return sum / n; }()",
           ("experiments: a speed-up is all tokens over all time, so long answers weigh more",)),
    Mutant("decode_speed", "experiments/summary.cpp", "decode speed includes prefill", "«(with_prefill ? 0 : record->prefill_ns)»", "std::int64_t{0}",
           ("experiments: a cell's numbers: acceptance of the first repeat, medians of times, the speed-up on shared requests only",)),
    Mutant("median_repeat", "experiments/summary.cpp", "the first repeat stands for all", "return «*median(std::move(times))»;", "times.front()",
           ("experiments: a cell's numbers: acceptance of the first repeat, medians of times, the speed-up on shared requests only",)),
    Mutant("bootstrap_pairing", "framework/metrics/statistics.cpp", "method and baseline of a prompt are resampled apart",
           "for (std::size_t i = 0; i < rows.size(); ++i) add(sums, rows[rng.below(rows.size())]);",
           "for (std::size_t i = 0; i < rows.size(); ++i) { Row<Columns> mixed = rows[rng.below(rows.size())]; const Row<Columns>& other = "
           "rows[rng.below(rows.size())]; for (std::size_t c = Columns / 2; Columns == 4 && c < Columns; ++c) mixed[c] = other[c]; add(sums, mixed); }",
           ("metrics: pairing prompts makes the interval narrower",)),
    Mutant("verdict_interval", "framework/metrics/statistics.cpp", "an interval that holds 1 is a difference", "if («speedup.interval->contains(1)»)",
           "false", ("metrics: a verdict names a difference only where interval and noise allow it",)),
    Mutant("percentile_99", "framework/metrics/statistics.cpp", "the 99th percentile is the 90th", "«sorted_percentile(sample, 0.99)»",
           "sorted_percentile(sample, 0.9)", ("metrics: a summary pools gaps and counts each request once elsewhere",)),
    Mutant("goodput_first_token", "framework/metrics/latency.cpp", "goodput ignores the limit of the first token",
           "first && «within(first, targets.time_to_first_token_ns)»", "true", ("metrics: goodput counts the requests that met every target",)),
    Mutant("goodput_per_token", "framework/metrics/latency.cpp", "goodput ignores the limit per token",
           "«within(time_per_output_token(request), targets.time_per_output_token_ns)»", "true", ("metrics: goodput counts the requests that met every target",)),
    Mutant("goodput_end_to_end", "framework/metrics/latency.cpp", "goodput ignores the limit of the whole answer",
           "«within(end_to_end_latency(request), targets.end_to_end_ns)»", "true", ("metrics: goodput counts the requests that met every target",)),
    Mutant("acceptance_length", "framework/metrics/metrics.cpp", "the mean acceptance length leaves the target's own token out",
           "per_round(«emitted_tokens(rounds)», rounds)", "accepted_tokens(rounds)", ("metrics: means over rounds: pooled and per request differ",)),
    Mutant("position_rates", "framework/metrics/metrics.cpp", "unconditional rates by position are conditional",
           "rates(rounds, «&PositionCounts::drafting»)", "&PositionCounts::evaluated",
           ("metrics: acceptance by position: unconditional over drafting rounds, conditional over rounds that got there",)),
    Mutant("predicted_draft_cost", "framework/cost/predicted_speedup.cpp", "drafting costs nothing", "out.draft_cost = «plan.draft_ns / one»;", "0.0",
           ("cost: rows that cost and drafts that cost are paid by acceptance",)),
    Mutant("predicted_acceptance", "framework/cost/predicted_speedup.cpp", "acceptance at a depth is taken for unconditional",
           "«reached * conditional[i - 1]»", "shape.share * conditional[i - 1]", ("cost: emitted tokens by depth",)),
    Mutant("row_costs", "framework/cost/row_costs.cpp", "costs between measured rows are those of the fewer rows",
           "return «a.ns + (b.ns - a.ns) * (rows - a.rows) / (b.rows - a.rows)»;", "a.ns",
           ("cost: costs between measured row counts are linear, above the last they go on, and they never fall",)),
)

POLICIES = (
    Mutant("schedule_step", "policies/length/hf_schedule.cpp", "a whole draft makes the next one 1 token longer",
           "whole ? «schedule.tokens + 2» :", "schedule.tokens + 1",
           ("policies: Hugging Face's heuristic: 2 more after a whole draft, 1 less after any other, down to 1",)),
    Mutant("cost_model_reading", "policies/length/cost_model.cpp", "what the draft model has to read costs nothing",
           "/ emitted + «account_.catch_up(depths)»;", "0.0", ("policies: a draft model that has much to read is not started for a short rest",)),
    Mutant("goodput_depth", "policies/length/goodput.cpp", "a round's own token is not counted", "double sum = «1», power = 1;", "0.0",
           ("policies: goodput takes the batch's best depth, and none when the batch is large",)),
    Mutant("confidence_behind_rejection", "framework/planning/acceptance_estimate.cpp", "a rejection is not counted",
           "if («run.rejected») count(run.accepted + 1, false);", "false",
           ("policies: acceptance is estimated from what was observed, not from what lay behind a rejection",)),
    Mutant("beam_order", "framework/planning/beam_tree.cpp", "the least probable nodes are kept", "pa != pb ? «pa > pb» : a < b;", "pa < pb",
           ("policies: EAGLE-2's tree: K x K children a level, and the best of all nodes",)),
    Mutant("opt_tree_threshold", "policies/tree/opt_tree.cpp", "a level need not pay", "«gain(frontier) <= options_.threshold»", "false",
           ("policies: OPT-Tree drafts the best N nodes, and levels while they pay",)),
    Mutant("ddd_sum", "policies/tree/ddd.cpp", "the beam's probability is not asked", "return «std::log(sum) >= options_.threshold»;", "true",
           ("policies: dynamic depth ends the tree where the beam has become improbable",)),
)

RUNS = (
    Mutant("resume_incomplete", "experiments/runner.cpp", "a batch that lacks records counts as complete",
           "return «entry.second.size() != expected[entry.first]»;", "false", ("cli: resume_test",)),
    Mutant("record_accepted", "experiments/record_json.cpp", "emitted tokens are stored as accepted", "{\"accepted\", «round.accepted»},", "round.emitted",
           ("experiments: every field of a record survives the disk",)),
    Mutant("run_seed", "experiments/arm.cpp", "every run has the seed 0", "out.seed = «static_cast<std::uint64_t>(cell_.run.seed)»;", "std::uint64_t{0}",
           ("cli: commands_test",)),
    Mutant("wall_time", "experiments/arm.cpp", "a batch's time is not divided among its requests",
           "const std::int64_t share = «clock.now_ns() / static_cast<std::int64_t>(now.requests.size())»;", "clock.now_ns()",
           ("cli: commands_test",)),
    Mutant("report_column", "experiments/report/report_tables.cpp", "a table's numbers stand one column too far left",
           "formatted(«task->values[i]», measures[i].format)", "task->values[std::min(i + 1, measures.size() - 1)]",
           ("experiments: a report has a row for each cell and task; what is not there is '-' or empty, never 0",)),
)

MODEL = (
    Mutant("rope_exponent", "framework/model/rope.cpp", "frequencies fall half as fast", "std::pow(rope.theta, «2.0 * pair / dim»)", "1.0 * pair / dim",
           ("model: every family and shape agrees with the reference",)),
    Mutant("attention_scale", "framework/model/rope.cpp", "scores are not scaled by the head's width", "config.attention_scaled ? «1.0 / std::sqrt(config.head_dim)»",
           "1.0", ("model: every family and shape agrees with the reference",)),
    Mutant("tree_mask", "framework/model/batch_plan.cpp", "a node of a tree sees the row before it in place of its parent",
           "rows.visible->copy_row(row, «parent»);", "row - 1", ("model: a tree scores every path as if it stood alone, and keeping a path goes on from it",)),
    Mutant("tree_positions", "framework/model/batch_plan.cpp", "nodes of a tree stand one behind the other", "rows.positions[row] = «rows.positions[parent] + 1»;",
           "rows.positions[row - 1] + 1", ("model: a tree scores every path as if it stood alone, and keeping a path goes on from it",)),
    Mutant("window_edge", "framework/model/batch_plan.cpp", "a sliding window holds one position more", "const int oldest = «asked[row] - window + 1»;",
           "asked[row] - window", ("model: every family and shape agrees with the reference",)),
    Mutant("cache_keep", "framework/model/transformer_cache.cpp", "kept rows are taken from where they go to", "moved.push_back(«base + rows[i]»);", "base + i",
           ("model: a tree scores every path as if it stood alone, and keeping a path goes on from it",)),
    Mutant("grouped_heads", "framework/model/few_row_attention.cpp", "query heads are grouped by the wrong stride",
           "job.row_stride + «(task.head * job.group + query % job.group)» * job.dim;", "(query % job.group * job.kv_heads + task.head)",
           ("model: every family and shape agrees with the reference",)),
    Mutant("norm_eps", "framework/model/norm.cpp", "the norm's epsilon is left out", "rms_norm(x, gain, «eps»)", "0.0",
           ("model: every family and shape agrees with the reference",)),
)

TEXT = (
    Mutant("stream_prime", "framework/text/tokenizer.cpp", "a continuation does not know what it continues",
           "for (const Token id : context) push(id);", "", ("text: A continuation keeps the space that decoding it alone would drop",)),
    Mutant("end_tokens", "framework/text/special_tokens.cpp", "end tokens of generation_config.json are left out",
           "ends.eos.push_back(id);", "", ("text: BOS and EOS come from the files beside the tokenizer",)),
    Mutant("special_skip", "framework/text/tokenizer.cpp", "special tokens are not left out", "state_(tokenizer_->start_decoding(«skip_special»))", "false",
           ("text: Special tokens can be left out",)),
    Mutant("byte_fallback", "framework/text/decode_stages.cpp", "tokens that stand for bytes come out as their names", "if (const auto byte = «fallback_byte(text)»)",
           "std::optional<unsigned char>()", ("text: What is not UTF-8 becomes U+FFFD, an unfinished character at the end",)),
)

READERS = (
    Mutant("safetensors_overlap", "framework/model/files/safetensors.cpp", "tensors may share bytes", "if («extent.begin != expected»)",
           "extent.begin > expected", ("model: a safetensors header that lies is refused",)),
    Mutant("safetensors_end", "framework/model/files/safetensors.cpp", "the header may reach beyond the file",
           "if («length > bytes.size() - kLengthBytes»)", "false", ("model: a truncated safetensors file says how much is missing",)),
    Mutant("datastore_token", "framework/model/files/datastore.cpp", "negative tokens are let in", "«store.token(i) < 0» ||", "false",
           ("model: a datastore that is not what it says is refused, with the file's name",)),
    Mutant("datastore_suffix", "framework/model/files/datastore.cpp", "a suffix may be there twice", "if («rank[start] != 0»)", "false",
           ("model: a datastore that is not what it says is refused, with the file's name",)),
)

MUTANTS = [*VERIFIERS, *DRAFTERS, *LOOP, *SAMPLING, *MEASURES, *POLICIES, *RUNS, *MODEL, *TEXT, *READERS]
