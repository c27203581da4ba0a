// What manager, driver and workers say to each other: lines of words on control connections.
//
//   worker → manager   WORKER ADDRESS PORT          I am here and listen there
//   driver → manager   DRIVER                       I am here
//   manager → worker   RING INDEX COUNT ADDRESS PORT KEY   your place, your successor, the ring's key
//   worker → manager   LINKED                       connected with both neighbours
//   manager → driver   READY COUNT                  all workers are linked
//   driver → manager → workers   RUN PAYLOAD WINDOW ROUNDS SEED SECONDS LIMIT
//   worker → manager → driver    RESULT COMPLETED ELAPSED_NS SUM_NS BUCKET:COUNT,…
//   driver → manager → workers   FINISH
//   anyone → anyone    ABORT REASON                 give up, with this message
#pragma once

#include <cstdint>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "histogram.hpp"
#include "net.hpp"
#include "options.hpp"

struct Phase {
    std::uint32_t payload = 0;
    std::uint32_t window = 0;
    std::uint64_t rounds = 0;
    std::uint64_t seed = 0;
    double seconds = 0;
    double limit_s = 0;
};

struct Result {
    std::uint64_t completed = 0;
    double elapsed_ns = 0;
    Histogram latency_ns;
};

std::vector<std::string> words(const std::string& line);
// A whole number from 0 to `most`, or nothing.
std::optional<unsigned long> number(const std::string& word, unsigned long most);
std::string to_line(const Phase& phase);
Phase phase_from(const std::string& line);
std::string to_line(const Result& result);
Result result_from(const std::string& line);

// ABORT becomes a Failure with its reason; every other line is passed through.
const std::string& checked(const std::string& line);

// The next line of one connection; a Failure when it does not come in time or the peer has gone.
std::string next_line(Lines& peer, const std::string& name, const Deadline& deadline);
