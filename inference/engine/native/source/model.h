// What a model of the llama family is made of, as the caller lays it out in memory. Mirrors the
// ctypes structures of `inference/engine/native/library.py`; no field has padding.
#pragma once

#include "attention.h"
#include "panels.h"

namespace lg {

enum Activation : int32_t { SILU = 0, GELU_TANH = 1 };
enum TableType : int32_t { FLOAT32 = 0, FLOAT16 = 1, BFLOAT16 = 2 };

struct Layer {
    Linear qkv, output, gate_up, down;
    // Weights [hidden] of the root-mean-square norms; null where the family has none.
    const float* norm_before_attention;
    const float* norm_after_attention;
    const float* norm_before_mlp;
    const float* norm_after_mlp;
    const float* query_norm;  // [head_dim], or [heads * head_dim] where `wide_qk_norm`
    const float* key_norm;
    // Cosines and sines [positions, rotary_dim / 2] each; null: positions do not turn this layer.
    const float* cosines;
    const float* sines;
    int32_t window;  // positions seen, the own one included; 0: all
    int32_t reserved;
};

struct Model {
    int32_t num_layers, hidden, intermediate, vocab;
    int32_t num_heads, num_kv_heads, head_dim, rotary_dim;
    int32_t num_blocks, activation, table_type, wide_qk_norm;
    float epsilon, query_scale, softcap, logit_softcap;
    float embedding_factor, residual_factor, logit_factor;
    int32_t reserved;
    const void* embeddings;  // [vocab, hidden] of `table_type`
    const float* final_norm;
    const Layer* layers;
    uint8_t* cache;
    Linear head;

    CacheShape cache_shape() const {
        return {(size_t)num_layers, (size_t)num_kv_heads, (size_t)head_dim, (size_t)num_blocks};
    }
    int query_width() const { return num_heads * head_dim; }
    int key_width() const { return num_kv_heads * head_dim; }
};

// Where activations keep twice the bits. A repeated row leaves nothing in the cache: another one of the
// same position does, which this one repeats for better logits.
enum Fine : int32_t { PLAIN = 0, FINE = 1, REPEATED = 2 };

// One step's rows. Rows of one sequence are neighbours, in the order of their positions.
struct Step {
    int32_t num_rows, num_logit_rows;
    const int32_t* tokens;     // [rows]
    const int32_t* positions;  // [rows]
    const int32_t* slots;      // [rows]
    const int32_t* fine;  // [rows] of Fine
    const int32_t* logit_rows;  // [logit rows]
    float* logits;              // [logit rows, vocab]
    // Rows whose last hidden states are wanted, behind the final norm.
    const int32_t* hidden_rows;  // [hidden rows]
    float* hidden;               // [hidden rows, hidden]
    int32_t num_hidden_rows, reserved;
};

}  // namespace lg
