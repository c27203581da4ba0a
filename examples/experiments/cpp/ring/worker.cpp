// A worker: sends messages of its own round the ring and passes on those of the others.

#include <algorithm>
#include <cstring>
#include <iostream>
#include <list>

#include "net.hpp"
#include "protocol.hpp"
#include "roles.hpp"

namespace {

// What a worker says first to its successor; the key keeps out whoever does not belong to this ring.
struct Hello {
    std::uint32_t key = 0;
    std::uint32_t place = 0;
};

// Travels with each message; times are read on the clock of the origin alone. Host byte order: one architecture.
struct Header {
    std::uint32_t origin = 0;
    std::uint32_t zero = 0;
    std::uint64_t sequence = 0;
    std::int64_t sent_ns = 0;
};
static_assert(sizeof(Header) == 24, "a header has no padding");

struct Place {
    std::uint32_t index = 0;
    std::uint32_t count = 1;
    std::string next_address;
    std::uint16_t next_port = 0;
    std::uint32_t key = 0;
};

std::int64_t now_ns() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch()).count();
}

std::vector<char> payload_of(std::uint32_t size, std::uint64_t seed, std::uint32_t origin) {
    std::vector<char> bytes(size);
    std::uint64_t state = seed ^ (std::uint64_t{origin} << 32U);
    for (char& byte : bytes) {
        // splitmix64, https://prng.di.unimi.it/splitmix64.c
        std::uint64_t mixed = (state += 0x9e3779b97f4a7c15U);
        mixed = (mixed ^ (mixed >> 30U)) * 0xbf58476d1ce4e5b9U;
        mixed = (mixed ^ (mixed >> 27U)) * 0x94d049bb133111ebU;
        byte = static_cast<char>(mixed >> 56U);
    }
    return bytes;
}

Place await_place(Lines& manager, const Options& options) {
    const std::string line = next_line(manager, "manager", Deadline(options.wait_s + options.timeout_s));
    std::istringstream stream(line);
    std::string verb;
    Place place;
    stream >> verb >> place.index >> place.count >> place.next_address >> place.next_port >> place.key;
    if (!stream || verb != "RING") throw Failure("the manager said '" + line + "' instead of RING");
    return place;
}

Fd connect_successor(const Place& place, const Options& options) {
    const Deadline deadline(options.timeout_s);
    Fd successor = connect_to(place.next_address, place.next_port, options.socket_buffer, deadline);
    const Hello hello{place.key, place.index};
    Buffer greeting;
    greeting.append(reinterpret_cast<const char*>(&hello), sizeof hello);
    while (!greeting.empty()) {
        if (!greeting.send(successor)) throw Failure("the successor has gone");
        std::vector<pollfd> wanted{{successor.number(), POLLOUT, 0}};
        if (!wait_for(wanted, deadline)) throw Failure("the successor takes no data");
    }
    return successor;
}

// Someone who has connected; the predecessor once its greeting is complete and right.
struct Caller {
    explicit Caller(Fd caller) : fd(std::move(caller)) {}
    Fd fd;
    Buffer said;
    bool gone = false;
};

class Door {
public:
    Door(const Fd& listener, const Place& place, const Options& options)
        : listener_(listener), place_(place), options_(options) {}

    // Keeps an eye on the manager too, so that a ring that never forms ends with the manager's reason.
    Caller await_predecessor(Lines& manager) {
        const Deadline deadline(options_.timeout_s);
        for (;;) {
            std::vector<pollfd> wanted{{listener_.number(), POLLIN, 0}, {manager.fd().number(), POLLIN, 0}};
            for (const Caller& caller : callers_) wanted.push_back({caller.fd.number(), POLLIN, 0});
            if (!wait_for(wanted, deadline)) throw Failure("the predecessor did not connect in time");
            if (wanted[1].revents != 0) hear(manager);
            std::size_t next = 2;
            for (Caller& caller : callers_) {
                if (wanted[next++].revents != 0 && is_predecessor(caller)) return std::move(caller);
            }
            callers_.remove_if([](const Caller& caller) { return caller.gone; });
            if (wanted[0].revents != 0) {
                if (auto fd = accept_from(listener_, options_.socket_buffer)) callers_.emplace_back(std::move(*fd));
            }
        }
    }

private:
    static void hear(Lines& manager) {
        const bool here = manager.move();
        while (const auto line = manager.take()) checked(*line);
        if (!here) throw Failure("the manager has gone");
    }

    bool is_predecessor(Caller& caller) const {
        caller.gone = !caller.said.receive(caller.fd);
        if (caller.said.size() < sizeof(Hello)) return false;
        Hello hello;
        std::memcpy(&hello, caller.said.data(), sizeof hello);
        caller.said.drop(sizeof hello);
        const bool right = hello.key == place_.key && hello.place == (place_.index + place_.count - 1) % place_.count;
        caller.gone = !right;
        return right;
    }

    const Fd& listener_;
    const Place& place_;
    const Options& options_;
    std::list<Caller> callers_;
};

// The measured phase of one worker, and the passing on that lasts until the manager says FINISH.
class Exchange {
public:
    Exchange(const Place& place, const Phase& phase, Lines& manager, Caller& predecessor, const Fd& successor, double idle_s)
        : place_(place), phase_(phase), manager_(manager), input_(predecessor.said), predecessor_(predecessor.fd),
          successor_(successor), idle_s_(idle_s), payload_(payload_of(phase.payload, phase.seed, place.index)),
          frame_(sizeof(Header) + phase.payload), counting_(phase.seconds), idle_(idle_s) {}

    void run() {
        start_ns_ = now_ns();
        while (in_flight_ < phase_.window && may_send()) send_own();
        while (!finished_) step();
    }

private:
    bool timed() const { return phase_.rounds == 0; }
    bool may_send() const { return timed() ? counting_now_ : sent_ < phase_.rounds; }

    void step() {
        std::vector<pollfd> wanted{{manager_.fd().number(), manager_.events(), 0}};
        if (ring_open_) {
            wanted.push_back({predecessor_.number(), POLLIN, 0});
            if (!output_.empty()) wanted.push_back({successor_.number(), POLLOUT, 0});
        }
        if (!wait_for(wanted, counting_now_ && timed() ? counting_ : idle_)) quiet();
        else idle_ = Deadline(idle_s_);
        if (counting_now_ && timed() && counting_.passed()) stop_counting();
        if (wanted[0].revents != 0) hear();
        if (ring_open_ && wanted[1].revents != 0) receive();
        if (ring_open_ && !output_.send(successor_)) ring_broke("successor");
        report_if_done();
    }

    // The end of counting is no error; the same silence later is.
    void quiet() {
        if (counting_now_ && timed()) return;
        throw Failure(reported_ ? "the manager did not end the run in time" : "the ring stands still");
    }

    void stop_counting() {
        counting_now_ = false;
        elapsed_ns_ = now_ns() - start_ns_;
    }

    void hear() {
        const bool here = manager_.move();
        while (const auto line = manager_.take()) {
            if (checked(*line) != "FINISH") throw Failure("the manager said '" + *line + "' in the measured phase");
            finished_ = true;
        }
        if (!here && !finished_) throw Failure("the manager has gone");
    }

    void receive() {
        const bool here = input_.receive(predecessor_);
        while (input_.size() >= frame_) {
            take(input_.data());
            input_.drop(frame_);
        }
        if (!here) ring_broke("predecessor");
    }

    void take(const char* frame) {
        Header header;
        std::memcpy(&header, frame, sizeof header);
        if (header.origin >= place_.count) throw Failure("a message of unknown origin came in");
        if (header.origin == place_.index) came_back(header, frame + sizeof header);
        else output_.append(frame, frame_);
    }

    void came_back(const Header& header, const char* payload) {
        if (header.sequence != received_) throw Failure("messages came back out of order");
        if (std::memcmp(payload, payload_.data(), payload_.size()) != 0) throw Failure("a message came back damaged");
        ++received_;
        --in_flight_;
        if (counting_now_) {
            ++result_.completed;
            result_.latency_ns.record(static_cast<std::uint64_t>(std::max<std::int64_t>(0, now_ns() - header.sent_ns)));
            if (!timed() && received_ == phase_.rounds) stop_counting();
        }
        if (may_send()) send_own();
    }

    void send_own() {
        const Header header{place_.index, 0, sent_++, now_ns()};
        output_.append(reinterpret_cast<const char*>(&header), sizeof header);
        output_.append(payload_.data(), payload_.size());
        ++in_flight_;
    }

    // The result goes out when all own messages are home, so that none is lost unnoticed.
    void report_if_done() {
        if (reported_ || counting_now_ || in_flight_ != 0) return;
        result_.elapsed_ns = static_cast<double>(elapsed_ns_);
        manager_.put(to_line(result_));
        manager_.move();
        reported_ = true;
        // From here on others may still be measuring: only the manager knows for how long.
        idle_s_ = phase_.limit_s;
        idle_ = Deadline(idle_s_);
    }

    // A neighbour that has already been told FINISH may leave first; before the result it is a loss.
    void ring_broke(const std::string& who) {
        if (!reported_) throw Failure("the " + who + " has gone");
        ring_open_ = false;
    }

    const Place& place_;
    const Phase& phase_;
    Lines& manager_;
    Buffer& input_;
    const Fd& predecessor_;
    const Fd& successor_;
    double idle_s_;
    std::vector<char> payload_;
    std::size_t frame_;
    Deadline counting_;
    Deadline idle_;
    Buffer output_;
    Result result_;
    std::uint64_t sent_ = 0;
    std::uint64_t received_ = 0;
    std::uint32_t in_flight_ = 0;
    std::int64_t start_ns_ = 0;
    std::int64_t elapsed_ns_ = 0;
    bool counting_now_ = true;
    bool reported_ = false;
    bool finished_ = false;
    bool ring_open_ = true;
};

}  // namespace

void run_worker(const Options& options) {
    const Fd listener = listen_on(options.address, options.port);
    std::cout << "worker: listening on " << endpoint(options.address, options.port) << std::endl;
    Lines manager(connect_to(options.manager_address, options.manager_port, 0, Deadline(options.timeout_s)));
    manager.put("WORKER " + options.address + ' ' + std::to_string(options.port));
    const Place place = await_place(manager, options);
    std::cout << "worker: place " << place.index << " of " << place.count << ", next is "
              << endpoint(place.next_address, place.next_port) << std::endl;
    const Fd successor = connect_successor(place, options);
    Caller predecessor = Door(listener, place, options).await_predecessor(manager);
    manager.put("LINKED");
    const Phase phase = phase_from(next_line(manager, "manager", Deadline(options.wait_s + options.timeout_s)));
    Exchange(place, phase, manager, predecessor, successor, options.timeout_s).run();
    std::cout << "worker: finished" << std::endl;
}
