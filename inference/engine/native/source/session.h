// One step of a model: embeddings, layers, logits.
#pragma once

#include <algorithm>
#include <cmath>
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

// Two vectors, in place.
static void activate(f32* x, int32_t kind) {
    f32 factor[2];
    for (int i = 0; i < 2; i++) {
        factor[i] = x[i];
        if (kind == SILU) continue;
        // 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), Hendrycks and Gimpel, 2016
        factor[i] = 2 * 0.7978845608028654f * fma(x[i] * x[i] * x[i], splat(0.044715f), x[i]);
    }
    sigmoid(factor);
    for (int i = 0; i < 2; i++) x[i] *= factor[i];
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
    void quantize(const Linear& linear, int num_rows, int width, const int32_t* parts,
                  const Source& source) {
        rows_.begin(linear, parts);
        pool_.run(num_rows, [&](int row, int thread) {
            rows_.put_row(row, width, source(row, thread));
        });
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
        size_t group = model_.num_heads / model_.num_kv_heads;
        grow(queries_, (size_t)pool_.size() * SEGMENT * group);
        grow(attended_, (size_t)pool_.size() * SEGMENT * group * model_.head_dim);
        grow(vectors_, (size_t)pool_.size() * SEGMENT * group * model_.head_dim);
        segments_.reserve(n);
        rows_.reserve(n, widest);
        made_.reserve(n, widest);
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
        int qkv_width = model_.query_width() + 2 * model_.key_width();
        quantize(layer.qkv, n, hidden, parts_.data(), normed(layer.norm_before_attention));
        multiply(pool_, layer.qkv, rows_.rows(), n, [&](int row, int panel, const float* acc) {
            put(&qkv_[(size_t)row * qkv_width], qkv_width, panel, acc);
        });
        prepare_attention(index, step, qkv_width);
        attend(index, step, qkv_width);
        add_branch(layer.output, made_.rows(), n, layer.norm_after_attention);
        quantize(layer.gate_up, n, hidden, parts_.data(), normed(layer.norm_before_mlp));
        run_gate(layer, n);
        add_branch(layer.down, made_.rows(), n, layer.norm_after_mlp);
    }

    static void put(float* row, int width, int panel, const float* acc) {
        int at = panel * PANEL, count = std::min(PANEL, width - at);
        std::copy_n(acc, count, row + at);
    }

    // The gated units, quantized for the projection down. Panels of gate and up projections hold 32
    // channels of each: a group of 4-bit weights, which is quantized on the spot.
    void run_gate(const Layer& layer, int n) {
        constexpr int HALF = PANEL / 2;
        int width = model_.intermediate;
        made_.begin(layer.down, parts_.data());
        bool at_once = layer.down.group() == HALF;
        multiply(pool_, layer.gate_up, rows_.rows(), n, [&](int row, int panel, const float* acc) {
            static_assert(HALF == 2 * LANES);
            f32 gate[2] = {load<f32>(acc), load<f32>(acc + LANES)};
            activate(gate, model_.activation);
            alignas(64) float out[HALF];
            for (int i = 0; i < 2; i++)
                store(out + i * LANES, gate[i] * load<f32>(acc + HALF + i * LANES));
            if (at_once)
                made_.put(row, panel, 1, out);
            else
                std::copy_n(out, std::min(HALF, width - panel * HALF),
                            &wide_[(size_t)row * width + panel * HALF]);
        });
        if (!at_once)
            pool_.run(n, [&](int row, int) {
                made_.put_row(row, width, &wide_[(size_t)row * width]);
            });
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
            if (step.fine[row] == REPEATED) return;
            for (int head = 0; head < kv_heads; head++) {
                uint8_t* start = shape.start(model_.cache, step.slots[row], index, head);
                HeadBlock block = shape.block(start, position / KEY_BLOCK);
                int place = position % KEY_BLOCK;
                write_key(block, dim, place, k + (size_t)head * dim);
                write_value(block, dim, place, v + (size_t)head * dim);
            }
        });
    }

    void rotate(const Layer& layer, float* x, int position) {
        int half = model_.rotary_dim / 2, i = 0;
        const float* cosine = layer.cosines + (size_t)position * half;
        const float* sine = layer.sines + (size_t)position * half;
        for (; i + LANES <= half; i += LANES) {
            f32 a = load<f32>(x + i), b = load<f32>(x + half + i);
            f32 c = load<f32>(cosine + i), s = load<f32>(sine + i);
            store(x + i, a * c - b * s);
            store(x + half + i, b * c + a * s);
        }
        for (; i < half; i++) {
            float a = x[i], b = x[i + half];
            x[i] = a * cosine[i] - b * sine[i];
            x[i + half] = b * cosine[i] + a * sine[i];
        }
    }

    // Attention, quantized for the projection behind it: at once where a head's numbers fill groups.
    void attend(int index, const Step& step, int qkv_width) {
        const Layer& layer = model_.layers[index];
        cut_segments(step);
        int dim = model_.head_dim, kv_heads = model_.num_kv_heads;
        int group = model_.num_heads / kv_heads, width = model_.query_width();
        CacheShape shape = model_.cache_shape();
        made_.begin(layer.output, parts_.data());
        int head_groups = dim / layer.output.group();
        bool at_once = dim % layer.output.group() == 0;
        // The heads of a group read the same keys; apart they fill more threads, as long as reading
        // the keys once for each of them costs little.
        bool is_short = *std::max_element(step.positions, step.positions + step.num_rows) < 1024;
        int num_units = (int)segments_.size() * kv_heads;
        int parts = is_short && num_units < 2 * pool_.size() ? group : 1;
        int heads = group / parts, per_segment = kv_heads * parts;
        float score_scale = model_.query_scale * (model_.softcap > 0 ? 1.0f : LOG2_E);
        pool_.run((int)segments_.size() * per_segment, [&](int unit, int thread) {
            const Segment& segment = segments_[unit / per_segment];
            int part = unit % per_segment, kv_head = part / parts;
            int first_head = kv_head * group + part % parts * heads, count = segment.count * heads;
            Query* queries = &queries_[(size_t)thread * SEGMENT * group];
            float* outputs = &attended_[(size_t)thread * SEGMENT * group * dim];
            int16_t* vectors = &vectors_[(size_t)thread * SEGMENT * group * dim];
            for (int i = 0; i < count; i++) {
                int row = segment.row + i / heads, head = first_head + i % heads;
                int position = step.positions[row];
                int first = layer.window ? std::max(0, position - layer.window + 1) : 0;
                const float* query = &qkv_[(size_t)row * qkv_width + (size_t)head * dim];
                int16_t* vector = vectors + (size_t)i * dim;
                float scale = quantize_key(query, dim, vector) * score_scale;
                queries[i] = {vector, scale, outputs + (size_t)i * dim, position, first, 0, f32{}};
            }
            uint8_t* start = shape.start(model_.cache, step.slots[segment.row], index, kv_head);
            attend_queries(start, shape, model_.softcap, queries, count);
            for (int i = 0; i < count; i++) {
                int row = segment.row + i / heads, head = first_head + i % heads;
                if (at_once)
                    made_.put(row, head * head_groups, head_groups, queries[i].output);
                else
                    std::copy_n(queries[i].output, dim,
                                &wide_[(size_t)row * width + (size_t)head * dim]);
            }
        });
        if (!at_once)
            pool_.run(step.num_rows, [&](int row, int) {
                made_.put_row(row, width, &wide_[(size_t)row * width]);
            });
    }

    // Neighbouring rows of one sequence, SEGMENT at most, are attended for together.
    void cut_segments(const Step& step) {
        segments_.clear();
        for (int row = 0; row < step.num_rows;) {
            int end = row + 1;
            while (end < step.num_rows && end - row < SEGMENT &&
                   step.slots[end] == step.slots[row])
                end++;
            segments_.push_back({row, end - row});
            row = end;
        }
    }

    void run_head(const Step& step) {
        int n = step.num_logit_rows;
        if (n == 0) return;
        auto norm = normed(model_.final_norm);
        quantize(model_.head, n, model_.hidden, head_parts_.data(), [&](int row, int thread) {
            return norm(step.logit_rows[row], thread);
        });
        multiply(pool_, model_.head, rows_.rows(), n, [&](int row, int panel, const float* acc) {
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
    // Rows for the projection at work, and those that it makes for the next one.
    Quantizer rows_, made_;
    std::vector<float> hidden_, normed_, qkv_, attended_, wide_, branch_;
    std::vector<int16_t> vectors_;
    std::vector<int32_t> parts_, head_parts_;
    std::vector<Segment> segments_;
    std::vector<Query> queries_;
};

}  // namespace lg
