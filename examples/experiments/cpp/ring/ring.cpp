// ring: a benchmark whose workers send messages round a ring over TCP.
//
// Every worker keeps a window of own messages in flight; each goes once round the ring and is checked when it comes
// home. Throughput counts every message on every link; latency is the time once round. Both therefore change with
// the number of workers, their processes per node, and the payload. Exit status: 0 done, 1 failed, 2 wrong usage.

#include <csignal>
#include <cstdlib>
#include <exception>
#include <iostream>

#include "net.hpp"
#include "options.hpp"
#include "roles.hpp"

namespace {

#ifdef RING_WORKER_ONLY
constexpr bool worker_only = true;
#else
constexpr bool worker_only = false;
#endif

void greet(const Options& options) {
    if (const char* greeting = std::getenv("RING_GREETING"); greeting != nullptr) {
        std::cout << "greeting: " << greeting << std::endl;
    }
    if (options.socket_buffer > 0) std::cout << "socket buffer: " << options.socket_buffer << " bytes" << std::endl;
}

void play(const Options& options) {
    switch (options.role) {
        case Role::manager: return run_manager(options);
        case Role::driver: return run_driver(options);
        case Role::worker: return run_worker(options);
    }
}

int run(const Options& options) {
    try {
        greet(options);
        play(options);
        return 0;
    } catch (const std::exception& error) {
        std::cerr << options.program << ' ' << options.role_name << ": " << error.what() << std::endl;
        return 1;
    }
}

}  // namespace

int main(int argc, char** argv) {
    // A peer that has gone is an error of send(), which has a message, and not a silent death.
    std::signal(SIGPIPE, SIG_IGN);
    try {
        return run(parse_options(argc, argv, worker_only));
    } catch (const HelpWanted&) {
        std::cout << usage("ring");
        return 0;
    } catch (const UsageError& error) {
        std::cerr << "ring: " << error.what() << "\n" << usage("ring");
        return 2;
    }
}
