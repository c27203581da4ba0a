// The manager: gathers the workers, gives them their places in the ring, and passes on what driver and workers say.

#include <algorithm>
#include <iostream>
#include <list>
#include <random>
#include <tuple>

#include "net.hpp"
#include "protocol.hpp"
#include "roles.hpp"

namespace {

enum class Kind { stranger, worker, driver };
enum class Stage { gathering, linking, running, finishing };

struct Peer {
    explicit Peer(Fd fd) : lines(std::move(fd)) {}
    Lines lines;
    Kind kind = Kind::stranger;
    bool gone = false;
    bool answered = false;  // in the present stage
    std::string address;
    std::uint16_t port = 0;
    std::size_t place = 0;
};

std::string name_of(const Peer& peer) {
    if (peer.kind == Kind::driver) return "driver";
    if (peer.kind == Kind::worker) return "worker " + endpoint(peer.address, peer.port);
    return "stranger";
}

class Manager {
public:
    explicit Manager(const Options& options)
        : options_(options), listener_(listen_on(options.address, options.manager_port)), deadline_(options.wait_s) {
        std::cout << "manager: listening on " << endpoint(options.address, options.manager_port) << " for "
                  << options.expected_workers() << " workers" << std::endl;
    }

    void run() {
        try {
            while (!over()) step();
        } catch (const Failure& failure) {
            tell_all(std::string("ABORT ") + failure.what());
            throw;
        }
        std::cout << "manager: finished" << std::endl;
    }

private:
    bool over() const {
        return stage_ == Stage::finishing &&
               std::none_of(peers_.begin(), peers_.end(), [](const Peer& peer) { return peer.kind == Kind::worker; });
    }

    void step() {
        std::vector<pollfd> wanted{{listener_.number(), POLLIN, 0}};
        for (const Peer& peer : peers_) wanted.push_back({peer.lines.fd().number(), peer.lines.events(), 0});
        // Someone who talks all the time does not put the deadline off.
        if (!wait_for(wanted, deadline_) || deadline_.passed()) throw Failure(late());
        std::size_t next = 1;
        for (Peer& peer : peers_) {
            if (wanted[next++].revents != 0) serve(peer);
        }
        peers_.remove_if([](const Peer& peer) { return peer.gone; });
        if (wanted[0].revents != 0) {
            if (auto fd = accept_from(listener_, 0)) peers_.emplace_back(std::move(*fd));
        }
    }

    void serve(Peer& peer) {
        const bool here = peer.lines.move();
        while (const auto line = peer.lines.take()) hear(peer, *line);
        if (!here) lose(peer);
    }

    void lose(Peer& peer) {
        peer.gone = true;
        // Whoever only looks whether the port is open says nothing and may go.
        if (peer.kind != Kind::stranger && stage_ != Stage::finishing) throw Failure("the " + name_of(peer) + " has gone");
    }

    void hear(Peer& peer, const std::string& line) {
        checked(line);
        const auto said = words(line);
        const std::string verb = said.empty() ? "" : said[0];
        if (peer.kind == Kind::stranger) greet(peer, said);
        else if (peer.kind == Kind::worker && verb == "LINKED" && stage_ == Stage::linking) linked(peer);
        else if (peer.kind == Kind::worker && verb == "RESULT" && stage_ == Stage::running) result(peer, line);
        else if (peer.kind == Kind::driver && verb == "RUN" && stage_ == Stage::linking && all_answered()) start(line);
        else if (peer.kind == Kind::driver && verb == "FINISH" && stage_ == Stage::running && all_answered()) finish();
        else throw Failure("the " + name_of(peer) + " said '" + line.substr(0, 80) + "' at a wrong time");
    }

    void greet(Peer& peer, const std::vector<std::string>& said) {
        const bool gathering = stage_ == Stage::gathering;
        const auto port = said.size() == 3 && said[0] == "WORKER" ? number(said[2], 65535) : std::nullopt;
        if (gathering && port && workers().size() < options_.expected_workers()) {
            peer.kind = Kind::worker;
            peer.address = said[1];
            peer.port = static_cast<std::uint16_t>(*port);
            std::cout << "manager: " << name_of(peer) << " is here (" << workers().size() << " of "
                      << options_.expected_workers() << ")" << std::endl;
        } else if (said.size() == 1 && said[0] == "DRIVER" && driver() == nullptr) {
            peer.kind = Kind::driver;
            std::cout << "manager: the driver is here" << std::endl;
        } else {
            refuse(peer);
            return;
        }
        deadline_ = Deadline(options_.wait_s);
        if (gathering && workers().size() == options_.expected_workers()) form_ring();
        announce_if_ready();
    }

    // One worker or driver too many gets told so; the run goes on without it.
    void refuse(Peer& peer) {
        peer.lines.put("ABORT the manager has no place for this process (wrong -x, or a run is on)");
        peer.lines.flush(Deadline(options_.timeout_s));
        peer.gone = true;
    }

    // The order must not depend on who came first: by place in -w, then by port.
    void form_ring() {
        auto ring = workers();
        std::stable_sort(ring.begin(), ring.end(), [this](const Peer* left, const Peer* right) {
            return std::make_tuple(position(left->address), left->address, left->port) <
                   std::make_tuple(position(right->address), right->address, right->port);
        });
        const auto key = std::random_device{}();
        for (std::size_t place = 0; place < ring.size(); ++place) {
            const Peer& next = *ring[(place + 1) % ring.size()];
            ring[place]->place = place;
            ring[place]->lines.put("RING " + std::to_string(place) + ' ' + std::to_string(ring.size()) + ' ' +
                                   next.address + ' ' + std::to_string(next.port) + ' ' + std::to_string(key));
        }
        enter(Stage::linking, options_.timeout_s);
    }

    std::size_t position(const std::string& address) const {
        const auto& known = options_.worker_addresses;
        return static_cast<std::size_t>(std::find(known.begin(), known.end(), address) - known.begin());
    }

    void linked(Peer& peer) {
        peer.answered = true;
        if (!all_answered()) return;
        std::cout << "manager: all workers are linked" << std::endl;
        deadline_ = Deadline(options_.wait_s);
        announce_if_ready();
    }

    void announce_if_ready() {
        if (stage_ == Stage::linking && all_answered() && driver() != nullptr) {
            driver()->lines.put("READY " + std::to_string(workers().size()));
        }
    }

    void start(const std::string& line) {
        enter(Stage::running, phase_from(line).limit_s + options_.timeout_s);
        for (Peer* worker : workers()) worker->lines.put(line);
    }

    void result(Peer& peer, const std::string& line) {
        peer.answered = true;
        driver()->lines.put(line);
    }

    void finish() {
        enter(Stage::finishing, options_.timeout_s);
        for (Peer* worker : workers()) worker->lines.put("FINISH");
    }

    void enter(Stage stage, double limit_s) {
        stage_ = stage;
        deadline_ = Deadline(limit_s);
        for (Peer& peer : peers_) peer.answered = false;
    }

    std::string late() {
        const std::string count = std::to_string(workers().size()) + " of " + std::to_string(options_.expected_workers()) + " workers";
        switch (stage_) {
            case Stage::gathering: return "only " + count + " came in time";
            case Stage::linking: return all_answered() ? "no driver started the run in time" : "the ring did not form in time";
            case Stage::running: return "the measured phase did not end in time";
            case Stage::finishing: return count + " did not finish in time";
        }
        return "late";
    }

    std::vector<Peer*> workers() {
        std::vector<Peer*> found;
        for (Peer& peer : peers_) {
            if (peer.kind == Kind::worker && !peer.gone) found.push_back(&peer);
        }
        return found;
    }

    Peer* driver() {
        for (Peer& peer : peers_) {
            if (peer.kind == Kind::driver && !peer.gone) return &peer;
        }
        return nullptr;
    }

    bool all_answered() {
        const auto all = workers();
        return std::all_of(all.begin(), all.end(), [](const Peer* peer) { return peer->answered; });
    }

    void tell_all(const std::string& line) {
        const Deadline soon(1);
        for (Peer& peer : peers_) {
            if (peer.gone) continue;
            peer.lines.put(line);
            peer.lines.flush(soon);
        }
    }

    const Options& options_;
    Fd listener_;
    Deadline deadline_;
    Stage stage_ = Stage::gathering;
    std::list<Peer> peers_;  // a list, so that pointers to peers stay good
};

}  // namespace

void run_manager(const Options& options) { Manager(options).run(); }
