// Batch engine: drives a Verilated model's AXI4-Stream ports from memory, one call a run.
//
// Contract: "ports.h", generated from the model's .rtl.json, gives Model, set_reset, rest (inputs of no
// stream are low), activity (the output of that name, 0 without one), and one struct a stream, listed in
// the tuples Inputs and Outputs: the bytes of a beat (its payload ports after each other, each padded to
// whole bytes, little-endian) and how to put, get and handshake it.
// hwlut_open makes a bench, a model with a context of its own; hwlut_run may be called on it any
// number of times, from one thread at a time; hwlut_close ends it. Benches may run at once.
// A run resets the model, offers every input beat, stores every output beat, waits for the
// expected number of them, then watches a while for beats too many. Where `interrupt` says so, all that
// begins anew, by a reset, after so many beats of the first input. A stream breaks its promise
// when tvalid falls or its payload changes before tready. A model that cannot go on (a combinational
// loop that does not settle, $fatal) ends the run, not the process; its bench is then only to be closed.
//
// Compile, with all.cpp including model/*.cpp and this file:
// g++ -std=c++17 -O3 -fPIC -shared -I. -Imodel -I$VERILATOR_ROOT/include all.cpp verilated*.o -lpthread

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <tuple>
#include <utility>

#include "ports.h"
#include "verilated.h"
#ifdef HWLUT_WAVES
#include "verilated_vcd_c.h"
#endif

extern "C" {

struct HwlutStream {
    uint8_t *beats;
    uint64_t count;  // inputs: beats to send; outputs: beats to expect
    uint64_t done;   // beats transferred
    uint64_t *cycles;  // where to write the cycle in which each beat was transferred, or null
};

struct HwlutOptions {
    uint32_t idle;      // chance in 256 that an input pauses in a cycle
    uint32_t stall;     // chance in 256 that an output refuses in a cycle
    uint64_t watchdog;  // cycles without any transfer that count as a hang
    uint64_t linger;    // cycles without any transfer to watch for beats too many, after the last one
    uint64_t interrupt;  // beats of the first input after which to reset and begin anew; 0 for never
    uint64_t first;      // cycle from which on the waveform and the activity are kept
    uint64_t end;        // cycle in which the run ends at the latest
    uint64_t *activity;  // where to write it for each cycle from the first on, or null
};

enum HwlutFault : int32_t { kNone = 0, kHang = 1, kSurplus = 2, kUnstable = 3, kFatal = 4 };

struct HwlutOutcome {
    int32_t fault;
    int32_t stream;   // index of the output stream at fault
    uint64_t cycles;  // from the end of reset to the last transfer
    uint64_t first_accept;
    uint64_t first_delivery;
    char message[160];  // of kFatal
};
}

void vl_fatal(const char *, int, const char *, const char *message) { throw std::runtime_error(message); }

namespace {

class Random {  // xorshift64*
   public:
    explicit Random(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15u | 1) {}
    bool strikes(uint32_t chance) {
        if (chance == 0) return false;
        state_ ^= state_ >> 12;
        state_ ^= state_ << 25;
        state_ ^= state_ >> 27;
        return ((state_ * 0x2545F4914F6CDD1Du) >> 56) < chance;
    }

   private:
    uint64_t state_;
};

struct Source {
    HwlutStream *stream;
    bool offered = false;
    bool accepted = false;
};

template <class Port>
struct Sink {
    HwlutStream *stream;
    bool open = false;
    bool taken = false;
    bool waiting = false;
    std::array<uint8_t, Port::bytes> held{};
};

template <class... Ports>
std::tuple<Sink<Ports>...> make_sinks(std::tuple<Ports...> *) {
    return {};
}

class Bench {
   public:
    Bench(uint64_t seed, const char *waves) : random_(seed + 1) {
        context_.randReset(2);  // registers without a reset start at random
        context_.randSeed(static_cast<int>(seed & 0x7fffffff) + 1);
#ifdef HWLUT_WAVES
        traced_ = waves != nullptr;
        if (traced_) context_.traceEverOn(true);
#endif
        model_ = std::make_unique<Model>(&context_);
        rest(*model_);
#ifdef HWLUT_WAVES
        if (traced_) {
            model_->trace(&waves_, 99);
            waves_.open(waves);
        }
#endif
    }

    ~Bench() {
        try {
            model_->final();
        } catch (const std::runtime_error &) {  // said before
        }
#ifdef HWLUT_WAVES
        if (traced_) waves_.close();
#endif
    }

    HwlutOutcome run(HwlutStream *inputs, HwlutStream *outputs, const HwlutOptions &options) {
        options_ = options;
        for (size_t i = 0; i < kInputs; ++i) sources_[i].stream = &inputs[i];
        each_sink([&](auto, auto &sink, size_t i) { sink.stream = &outputs[i]; });
        try {
            if (options_.interrupt) transfer(options_.interrupt);
            return transfer(UINT64_MAX);
        } catch (const std::runtime_error &error) {
            HwlutOutcome outcome{kFatal, 0, 0, 0, 0, {}};
            std::snprintf(outcome.message, sizeof outcome.message, "%s", error.what());
            return outcome;
        }
    }

   private:
    static constexpr size_t kInputs = std::tuple_size_v<Inputs>;

    // From a reset to the end, or until so many beats of the first input are accepted.
    HwlutOutcome transfer(uint64_t beats) {
        reset();
        HwlutOutcome outcome{kNone, 0, 0, UINT64_MAX, UINT64_MAX, {}};
        uint64_t quiet = 0;
        for (uint64_t cycle = 0; sources_[0].stream->done < beats; ++cycle) {
            if (cycle == options_.end) break;
            kept_ = cycle >= options_.first;
            const bool draining = complete();
            drive();
            edge(0);
            sample(outcome);
            if (kept_ && options_.activity) options_.activity[cycle - options_.first] = activity(*model_);
            if (outcome.fault) break;
            edge(1);
            bool moved = false;
            each_source([&](auto, Source &source) {
                if (!source.accepted) return;
                if (outcome.first_accept == UINT64_MAX) outcome.first_accept = cycle;
                if (source.stream->cycles) source.stream->cycles[source.stream->done] = cycle;
                source.offered = false;
                ++source.stream->done;
                moved = true;
            });
            each_sink([&](auto, auto &sink, size_t) {
                if (!sink.taken) return;
                if (outcome.first_delivery == UINT64_MAX) outcome.first_delivery = cycle;
                if (sink.stream->cycles) sink.stream->cycles[sink.stream->done] = cycle;
                ++sink.stream->done;
                moved = true;
            });
            if (moved) outcome.cycles = cycle + 1;
            quiet = moved ? 0 : quiet + 1;
            if (quiet < (draining ? options_.linger : options_.watchdog)) continue;
            if (!draining) outcome.fault = kHang;
            break;
        }
        return outcome;
    }

    template <class Action>
    void each_source(Action action) {
        each_source(action, std::make_index_sequence<kInputs>());
    }
    template <class Action, size_t... I>
    void each_source(Action &action, std::index_sequence<I...>) {
        (action(std::tuple_element_t<I, Inputs>(), sources_[I]), ...);
    }
    template <class Action>
    void each_sink(Action action) {
        each_sink(action, std::make_index_sequence<std::tuple_size_v<Outputs>>());
    }
    template <class Action, size_t... I>
    void each_sink(Action &action, std::index_sequence<I...>) {
        (action(std::tuple_element_t<I, Outputs>(), std::get<I>(sinks_), I), ...);
    }

    void edge(bool high) {
        model_->clk = high;
        model_->eval();
#ifdef HWLUT_WAVES
        if (traced_ && kept_) waves_.dump(context_.time());
        context_.timeInc(5);
#endif
    }

    void reset() {
        kept_ = options_.first == 0;
        set_reset(*model_, true);
        each_source([&](auto port, Source &source) {
            port.valid(*model_, false);
            source.offered = false;
            source.stream->done = 0;
        });
        each_sink([&](auto port, auto &sink, size_t) {
            port.ready(*model_, false);
            sink.waiting = false;
            sink.stream->done = 0;
        });
        for (int cycle = 0; cycle < 4; ++cycle) {
            edge(0);
            edge(1);
        }
        set_reset(*model_, false);
    }

    bool complete() {
        bool all = true;
        each_source([&](auto, Source &source) { all &= source.stream->done == source.stream->count; });
        each_sink([&](auto, auto &sink, size_t) { all &= sink.stream->done == sink.stream->count; });
        return all;
    }

    void drive() {
        each_source([&](auto port, Source &source) {
            HwlutStream &stream = *source.stream;
            if (!source.offered && stream.done < stream.count && !random_.strikes(options_.idle)) {
                port.put(*model_, stream.beats + stream.done * port.bytes);
                source.offered = true;
            }
            port.valid(*model_, source.offered);
        });
        each_sink([&](auto port, auto &sink, size_t) {
            sink.open = !random_.strikes(options_.stall);
            port.ready(*model_, sink.open);
        });
    }

    void sample(HwlutOutcome &outcome) {
        each_source([&](auto port, Source &source) { source.accepted = source.offered && port.ready(*model_); });
        each_sink([&](auto port, auto &sink, size_t i) {
            const bool valid = port.valid(*model_);
            HwlutStream &stream = *sink.stream;
            const auto blame = [&](HwlutFault fault) {
                if (!outcome.fault) outcome.fault = fault, outcome.stream = static_cast<int32_t>(i);
            };
            sink.taken = valid && sink.open;
            if (sink.waiting && !valid) blame(kUnstable);
            if (!valid) return;
            std::array<uint8_t, port.bytes> beat;
            port.get(*model_, beat.data());
            if (sink.waiting && beat != sink.held) blame(kUnstable);
            sink.waiting = !sink.taken;
            sink.held = beat;
            if (!sink.taken) return;
            if (stream.done == stream.count) return blame(kSurplus);
            std::memcpy(stream.beats + stream.done * port.bytes, beat.data(), port.bytes);
        });
    }

    HwlutOptions options_{};
    bool kept_ = true;
    Random random_;
    VerilatedContext context_;
#ifdef HWLUT_WAVES
    VerilatedVcdC waves_;
    bool traced_ = false;
#endif
    std::unique_ptr<Model> model_;
    std::array<Source, kInputs> sources_;
    decltype(make_sinks(static_cast<Outputs *>(nullptr))) sinks_;
};

}  // namespace

extern "C" {

// waves: the path of a VCD file, or null.
void *hwlut_open(uint64_t seed, const char *waves) { return new Bench(seed, waves); }

void hwlut_run(void *bench, HwlutStream *inputs, HwlutStream *outputs, const HwlutOptions *options,
               HwlutOutcome *outcome) {
    *outcome = static_cast<Bench *>(bench)->run(inputs, outputs, *options);
}

void hwlut_close(void *bench) { delete static_cast<Bench *>(bench); }
}
