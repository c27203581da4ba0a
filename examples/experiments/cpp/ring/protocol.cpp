#include "protocol.hpp"

#include <charconv>
#include <limits>

namespace {

[[noreturn]] void not_understood(const std::string& line) {
    throw Failure("not understood: '" + line.substr(0, 80) + "'");
}

}  // namespace

std::vector<std::string> words(const std::string& line) {
    std::istringstream stream(line);
    std::vector<std::string> found;
    for (std::string word; stream >> word;) found.push_back(word);
    return found;
}

std::optional<unsigned long> number(const std::string& word, unsigned long most) {
    unsigned long value = 0;
    const char* const end = word.data() + word.size();
    const auto [stop, error] = std::from_chars(word.data(), end, value);
    if (error != std::errc{} || stop != end || value > most) return std::nullopt;
    return value;
}

std::string to_line(const Phase& phase) {
    std::ostringstream line;
    line.precision(std::numeric_limits<double>::max_digits10);
    line << "RUN " << phase.payload << ' ' << phase.window << ' ' << phase.rounds << ' ' << phase.seed << ' '
         << phase.seconds << ' ' << phase.limit_s;
    return line.str();
}

Phase phase_from(const std::string& line) {
    std::istringstream stream(line);
    std::string word;
    Phase phase;
    stream >> word >> phase.payload >> phase.window >> phase.rounds >> phase.seed >> phase.seconds >> phase.limit_s;
    if (!stream || word != "RUN") not_understood(line);
    return phase;
}

std::string to_line(const Result& result) {
    std::ostringstream line;
    line.precision(std::numeric_limits<double>::max_digits10);
    line << "RESULT " << result.completed << ' ' << result.elapsed_ns << ' ' << result.latency_ns.sum() << ' ';
    const char* separator = "";
    for (std::size_t bucket = 0; bucket < Histogram::buckets; ++bucket) {
        if (result.latency_ns.at(bucket) == 0) continue;
        line << separator << bucket << ':' << result.latency_ns.at(bucket);
        separator = ",";
    }
    return line.str();
}

Result result_from(const std::string& line) {
    std::istringstream stream(line);
    std::string word;
    double sum_ns = 0;
    Result result;
    stream >> word >> result.completed >> result.elapsed_ns >> sum_ns;
    if (!stream || word != "RESULT") not_understood(line);
    result.latency_ns.add_sum(sum_ns);
    std::size_t bucket = 0;
    std::uint64_t count = 0;
    char colon = 0;
    char comma = 0;
    while (stream >> bucket >> colon >> count) {
        if (colon != ':' || bucket >= Histogram::buckets) not_understood(line);
        result.latency_ns.add(bucket, count);
        stream >> comma;
    }
    return result;
}

const std::string& checked(const std::string& line) {
    if (line.rfind("ABORT ", 0) == 0) throw Failure(line.substr(6));
    return line;
}

std::string next_line(Lines& peer, const std::string& name, const Deadline& deadline) {
    bool here = true;
    for (;;) {
        if (const auto line = peer.take()) return checked(*line);
        if (!here) throw Failure("the " + name + " has gone");
        std::vector<pollfd> wanted{{peer.fd().number(), peer.events(), 0}};
        if (!wait_for(wanted, deadline)) throw Failure("no answer from the " + name + " in time");
        here = peer.move();
    }
}
