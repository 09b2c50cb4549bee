// One step of a model: embeddings, layers, logits. Plain C functions are the whole interface.
#include <algorithm>
#include <cmath>
#include <memory>
#include <new>
#include <vector>

#include "gemm.h"
#include "model.h"

namespace lg {

// Rows of one sequence that one thread attends for together.
constexpr int SEGMENT = 16;

struct Segment {
    int row, count;
};

static void normalize(const float* x, const float* weight, int width, float epsilon, float* out) {
    f32 squares = splat(0.0f);
    for (int i = 0; i < width; i += LANES) {
        f32 v = load<f32>(x + i);
        squares = fma(v, v, squares);
    }
    float factor = 1.0f / std::sqrt(sum(squares) / (float)width + epsilon);
    for (int i = 0; i < width; i += LANES)
        store(out + i, load<f32>(x + i) * factor * load<f32>(weight + i));
}

static f32 activate(f32 x, int32_t kind) {
    if (kind == SILU) return x / (1.0f + exponential(-x));
    // 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), Hendrycks and Gimpel, 2016
    f32 inner = 0.7978845608028654f * fma(x * x * x, splat(0.044715f), x);
    return x / (1.0f + exponential(inner * -2.0f));
}

class Session {
   public:
    Session(const Model& model, int num_threads) : model_(model), pool_(num_threads) {}

    void run(const Step& step) {
        reserve(step.num_rows);
        split(step);
        embed(step);
        for (int i = 0; i < model_.num_layers; i++) run_layer(i, step);
        run_head(step);
        copy_hidden(step);
    }

   private:
    // Quantizes rows [n, width] for `linear`; `source(row)` gives a row, perhaps made on the spot.
    template <class Source>
    Rows quantize(const Linear& linear, int num_rows, int width, const int32_t* parts,
                  const Source& source) {
        int group = linear.group(), num_groups = linear.num_groups(), k = linear.k;
        pool_.run(num_rows, [&](int row, int thread) {
            const float* x = source(row, thread);
            for (int g = 0; g < num_groups; g++) {
                alignas(64) float padded[Int8::GROUP];
                const float* from = x + (size_t)g * group;
                if ((g + 1) * group > width) {
                    for (int i = 0; i < group; i++)
                        padded[i] = g * group + i < width ? from[i] : 0.0f;
                    from = padded;
                }
                size_t part = parts[row], index = part * num_groups + g;
                int8_t* values = values_.data() + part * k + (size_t)g * group;
                if (parts[row + 1] - parts[row] == 2)
                    quantize_group(from, group, values, &scales_[index], &sums_[index], values + k,
                                   &scales_[index + num_groups], &sums_[index + num_groups]);
                else
                    quantize_group(from, group, values, &scales_[index], &sums_[index], nullptr,
                                   nullptr, nullptr);
            }
        });
        return {values_.data(), scales_.data(), sums_.data(), parts, k, num_groups};
    }

    // All memory that a step needs: what fails here fails before anything has changed, and no thread
    // of the pool allocates.
    void reserve(int rows) {
        size_t n = (size_t)rows;
        size_t widest = model_.head.k;
        for (int i = 0; i < model_.num_layers; i++) {
            const Layer& layer = model_.layers[i];
            for (const Linear* linear : {&layer.qkv, &layer.output, &layer.gate_up, &layer.down})
                widest = std::max(widest, (size_t)linear->k);
        }
        grow(hidden_, n * model_.hidden);
        grow(normed_, (size_t)pool_.size() * widest);
        grow(qkv_, n * (model_.query_width() + 2 * model_.key_width()));
        grow(wide_, n * std::max(model_.intermediate, model_.query_width()));
        grow(branch_, n * model_.hidden);
        grow(queries_, (size_t)pool_.size() * SEGMENT * (model_.num_heads / model_.num_kv_heads));
        segments_.reserve(n);
        grow(values_, 2 * n * widest);
        grow(scales_, 2 * n * (widest / Int4::GROUP));
        grow(sums_, 2 * n * (widest / Int4::GROUP));
    }

    // Where each row begins among the quantized ones: a fine row takes two.
    void split(const Step& step) {
        parts_.assign(step.num_rows + 1, 0);
        for (int row = 0; row < step.num_rows; row++)
            parts_[row + 1] = parts_[row] + 1 + (step.fine[row] != 0);
        head_parts_.assign(step.num_logit_rows + 1, 0);
        for (int row = 0; row < step.num_logit_rows; row++)
            head_parts_[row + 1] = head_parts_[row] + 1 + (step.fine[step.logit_rows[row]] != 0);
    }

    template <class T>
    static void grow(std::vector<T>& buffer, size_t size) {
        if (buffer.size() < size + LANES) buffer.resize(size + LANES);
    }

    void embed(const Step& step) {
        pool_.run(step.num_rows, [&](int row, int) {
            size_t at = (size_t)step.tokens[row] * model_.hidden;
            float* x = &hidden_[(size_t)row * model_.hidden];
            for (int i = 0; i < model_.hidden; i++) {
                float value;
                if (model_.table_type == FLOAT32)
                    value = ((const float*)model_.embeddings)[at + i];
                else if (model_.table_type == FLOAT16)
                    value = from_half(((const uint16_t*)model_.embeddings)[at + i]);
                else
                    value = from_bfloat16(((const uint16_t*)model_.embeddings)[at + i]);
                x[i] = value * model_.embedding_factor;
            }
        });
    }

    // A row of the residual stream, through a norm where there is one.
    auto normed(const float* weight) {
        return [this, weight](int row, int thread) -> const float* {
            const float* x = &hidden_[(size_t)row * model_.hidden];
            if (!weight) return x;
            float* out = &normed_[(size_t)thread * (normed_.size() / pool_.size())];
            normalize(x, weight, model_.hidden, model_.epsilon, out);
            return out;
        };
    }

    void run_layer(int index, const Step& step) {
        const Layer& layer = model_.layers[index];
        int n = step.num_rows, hidden = model_.hidden;
        Rows rows = quantize(layer.qkv, n, hidden, parts_.data(), normed(layer.norm_before_attention));
        int qkv_width = model_.query_width() + 2 * model_.key_width();
        multiply(pool_, layer.qkv, rows, n, [&](int row, int panel, const float* acc) {
            put(&qkv_[(size_t)row * qkv_width], qkv_width, panel, acc);
        });
        prepare_attention(index, step, qkv_width);
        attend(index, step, qkv_width);
        rows = quantize(layer.output, n, model_.query_width(), parts_.data(), [&](int row, int) -> const float* {
            return &wide_[(size_t)row * model_.query_width()];
        });
        add_branch(layer.output, rows, n, layer.norm_after_attention);
        rows = quantize(layer.gate_up, n, hidden, parts_.data(), normed(layer.norm_before_mlp));
        multiply(pool_, layer.gate_up, rows, n, [&](int row, int panel, const float* acc) {
            gate(&wide_[(size_t)row * model_.intermediate], panel, acc);
        });
        rows = quantize(layer.down, n, model_.intermediate, parts_.data(), [&](int row, int) -> const float* {
            return &wide_[(size_t)row * model_.intermediate];
        });
        add_branch(layer.down, rows, n, layer.norm_after_mlp);
    }

    static void put(float* row, int width, int panel, const float* acc) {
        int at = panel * PANEL, count = std::min(PANEL, width - at);
        std::copy_n(acc, count, row + at);
    }

    // Panels of gate and up projections hold 32 channels of each.
    void gate(float* row, int panel, const float* acc) {
        constexpr int HALF = PANEL / 2;
        int at = panel * HALF, count = std::min(HALF, model_.intermediate - at);
        alignas(64) float out[HALF];
        for (int i = 0; i < HALF; i += LANES)
            store(out + i, activate(load<f32>(acc + i), model_.activation) *
                               load<f32>(acc + HALF + i));
        std::copy_n(out, count, row + at);
    }

    // residual += factor * norm(linear(rows))
    void add_branch(const Linear& linear, const Rows& rows, int n, const float* norm) {
        int hidden = model_.hidden;
        float factor = model_.residual_factor;
        if (!norm) {
            multiply(pool_, linear, rows, n, [&](int row, int panel, const float* acc) {
                float* x = &hidden_[(size_t)row * hidden + (size_t)panel * PANEL];
                int count = std::min(PANEL, hidden - panel * PANEL);
                for (int i = 0; i < count; i++) x[i] += factor * acc[i];
            });
            return;
        }
        multiply(pool_, linear, rows, n, [&](int row, int panel, const float* acc) {
            put(&branch_[(size_t)row * hidden], hidden, panel, acc);
        });
        pool_.run(n, [&](int row, int) {
            float* branch = &branch_[(size_t)row * hidden];
            float* x = &hidden_[(size_t)row * hidden];
            normalize(branch, norm, hidden, model_.epsilon, branch);
            for (int i = 0; i < hidden; i++) x[i] += factor * branch[i];
        });
    }

    // Norms and rotation of queries and keys in place; keys and values into the cache.
    void prepare_attention(int index, const Step& step, int qkv_width) {
        const Layer& layer = model_.layers[index];
        int dim = model_.head_dim, heads = model_.num_heads, kv_heads = model_.num_kv_heads;
        CacheShape shape = model_.cache_shape();
        pool_.run(step.num_rows, [&](int row, int) {
            float* q = &qkv_[(size_t)row * qkv_width];
            float* k = q + model_.query_width();
            float* v = k + model_.key_width();
            if (layer.query_norm && model_.wide_qk_norm) {
                normalize(q, layer.query_norm, model_.query_width(), model_.epsilon, q);
                normalize(k, layer.key_norm, model_.key_width(), model_.epsilon, k);
            }
            int position = step.positions[row];
            for (int head = 0; head < heads + kv_heads; head++) {
                float* x = q + (size_t)head * dim;
                const float* norm = head < heads ? layer.query_norm : layer.key_norm;
                if (norm && !model_.wide_qk_norm) normalize(x, norm, dim, model_.epsilon, x);
                if (layer.cosines) rotate(layer, x, position);
            }
            for (int i = 0; i < model_.query_width(); i++) q[i] *= model_.query_scale;
            if (step.fine[row]) return;
            for (int head = 0; head < kv_heads; head++) {
                uint16_t* block = model_.cache + shape.at(step.slots[row], index, head) +
                                  position / KEY_BLOCK * shape.block_stride();
                int place = position % KEY_BLOCK;
                write_key(block, dim, place, k + (size_t)head * dim);
                write_value(block + shape.values_after(), dim, place, v + (size_t)head * dim);
            }
        });
    }

    void rotate(const Layer& layer, float* x, int position) {
        int half = model_.rotary_dim / 2;
        const float* cosine = layer.cosines + (size_t)position * half;
        const float* sine = layer.sines + (size_t)position * half;
        for (int i = 0; i < half; i++) {
            float a = x[i], b = x[i + half];
            x[i] = a * cosine[i] - b * sine[i];
            x[i + half] = b * cosine[i] + a * sine[i];
        }
    }

    void attend(int index, const Step& step, int qkv_width) {
        const Layer& layer = model_.layers[index];
        segments_.clear();
        for (int row = 0; row < step.num_rows;) {
            int end = row + 1;
            while (end < step.num_rows && end - row < SEGMENT &&
                   step.slots[end] == step.slots[row])
                end++;
            segments_.push_back({row, end - row});
            row = end;
        }
        int dim = model_.head_dim, kv_heads = model_.num_kv_heads;
        int group = model_.num_heads / kv_heads;
        CacheShape shape = model_.cache_shape();
        // The heads of a group read the same keys; apart they fill more threads, as long as reading
        // the keys once for each of them costs little.
        bool is_short = *std::max_element(step.positions, step.positions + step.num_rows) < 1024;
        int num_units = (int)segments_.size() * kv_heads;
        int parts = is_short && num_units < 2 * pool_.size() ? group : 1;
        int heads = group / parts, per_segment = kv_heads * parts;
        pool_.run((int)segments_.size() * per_segment, [&](int unit, int thread) {
            // The last segments see the most keys: they come first.
            const Segment& segment = segments_[segments_.size() - 1 - unit / per_segment];
            int part = unit % per_segment, kv_head = part / parts;
            int first_head = kv_head * group + part % parts * heads;
            Query* queries = &queries_[(size_t)thread * SEGMENT * group];
            for (int i = 0; i < segment.count * heads; i++) {
                int row = segment.row + i / heads, head = first_head + i % heads;
                int position = step.positions[row];
                int first = layer.window ? std::max(0, position - layer.window + 1) : 0;
                queries[i] = {&qkv_[(size_t)row * qkv_width + (size_t)head * dim],
                              &wide_[((size_t)row * model_.num_heads + head) * dim],
                              position, first, 0, 0};
            }
            const uint16_t* keys =
                model_.cache + shape.at(step.slots[segment.row], index, kv_head);
            attend_queries(keys, shape, model_.softcap, queries, segment.count * heads);
        });
    }

    void run_head(const Step& step) {
        int n = step.num_logit_rows;
        if (n == 0) return;
        auto norm = normed(model_.final_norm);
        Rows rows = quantize(model_.head, n, model_.hidden, head_parts_.data(), [&](int row, int thread) {
            return norm(step.logit_rows[row], thread);
        });
        multiply(pool_, model_.head, rows, n, [&](int row, int panel, const float* acc) {
            float* out = step.logits + (size_t)row * model_.vocab + (size_t)panel * PANEL;
            int count = std::min(PANEL, model_.vocab - panel * PANEL);
            for (int i = 0; i < count; i++) out[i] = acc[i] * model_.logit_factor;
            if (model_.logit_softcap > 0)
                for (int i = 0; i < count; i++)
                    out[i] = std::tanh(out[i] / model_.logit_softcap) * model_.logit_softcap;
        });
    }

    void copy_hidden(const Step& step) {
        if (step.num_hidden_rows == 0) return;
        auto norm = normed(model_.final_norm);
        pool_.run(step.num_hidden_rows, [&](int row, int thread) {
            const float* x = norm(step.hidden_rows[row], thread);
            std::copy_n(x, model_.hidden, step.hidden + (size_t)row * model_.hidden);
        });
    }

    const Model model_;
    Pool pool_;
    std::vector<float> hidden_, normed_, qkv_, wide_, branch_, scales_;
    std::vector<int8_t> values_;
    std::vector<int32_t> sums_, parts_, head_parts_;
    std::vector<Segment> segments_;
    std::vector<Query> queries_;
};

}  // namespace lg

extern "C" {

// The sizes of the structures, so that the caller can check that it means the same ones.
void lg_sizes(int32_t* out) {
    out[0] = sizeof(lg::Linear);
    out[1] = sizeof(lg::Layer);
    out[2] = sizeof(lg::Model);
    out[3] = sizeof(lg::Step);
}

// Null where memory is short. `model` is copied, what it points to is not.
void* lg_open(const lg::Model* model, int32_t num_threads) {
    try {
        return new lg::Session(*model, num_threads);
    } catch (const std::exception&) {
        return nullptr;
    }
}

void lg_close(void* session) {
    delete (lg::Session*)session;
}

// 0, or 1 where memory ran out: the cache may hold some of the step's keys then, the rest is whole.
int32_t lg_step(void* session, const lg::Step* step) {
    try {
        ((lg::Session*)session)->run(*step);
        return 0;
    } catch (const std::bad_alloc&) {
        return 1;
    }
}

// Bytes of `linear` (its n, k, bits) when packed.
int64_t lg_packed_bytes(const lg::Linear* linear) {
    return (int64_t)linear->num_panels() * (int64_t)linear->panel_bytes();
}

// Packs rows of float32 weights [num_rows, width]; row r is the output channel `channels[r]`. Returns
// how many groups 4 bits do not hold exactly; the rest is left undone once there is one.
int64_t lg_pack(const lg::Linear* linear, const float* weights, int32_t width,
                const int32_t* channels, int32_t num_rows, uint8_t* out, int32_t num_threads) {
    lg::Pool pool(num_threads);
    std::atomic<int64_t> inexact{0};
    int group = linear->group();
    size_t group_bytes = linear->bits == 4 ? lg::Int4::BYTES : lg::Int8::BYTES;
    pool.run(num_rows, [&](int row, int) {
        int channel = channels[row] % lg::PANEL, panel = channels[row] / lg::PANEL;
        int64_t misses = 0;
        if (inexact.load(std::memory_order_relaxed) > 0) return;
        for (int g = 0; g < linear->num_groups(); g++) {
            float w[lg::Int8::GROUP] = {};
            for (int i = 0; i < group && g * group + i < width; i++)
                w[i] = weights[(size_t)row * width + (size_t)g * group + i];
            uint8_t* at = out + (size_t)panel * linear->panel_bytes() + (size_t)g * group_bytes;
            if (linear->bits == 8) {
                lg::put_bytes(at, channel, w, linear->factor);
            } else {
                float scale, minimum;
                if (lg::fit_nibbles(w, &scale, &minimum)) {
                    lg::put_nibbles(at, channel, w, scale, minimum, linear->factor);
                } else {
                    misses++;
                }
            }
        }
        inexact += misses;
    });
    return inexact;
}
}
