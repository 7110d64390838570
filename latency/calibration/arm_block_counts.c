/* A QEMU TCG plugin: counts the runs of each translated block, in regions that the guest marks.
 *
 *   qemu-aarch64 -plugin arm_block_counts.so,out=PREFIX ...
 *
 * The guest marks regions with lseek(-1, 0x5EED0000 + k, 0): k = 0 starts one, k >= 1 ends it and
 * names it k. A region is cut into segments at its clock_gettime() calls, which onnxruntime's
 * profiler makes before and after every kernel (qemu-user offers no vDSO, so each is a system call).
 *
 * PREFIX.blocks  for each block, in order of number: u32 n, then its n instructions, u32 each
 * PREFIX.counts  for each segment: u64 region, u64 n, then n pairs u64 block, u64 times run
 */
#include "arm_qemu_plugin.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

QEMU_PLUGIN_EXPORT int qemu_plugin_version = QEMU_PLUGIN_VERSION;

#define LSEEK 62          /* aarch64 system call numbers */
#define CLOCK_GETTIME 113
#define MARK 0x5EED
#define MAX_INSTRUCTIONS 1024 /* a block never has more than TCG's own limit of 512 */
#define BUCKETS (1 << 18)

typedef struct block {
    uint64_t count, seen, address;
    uint32_t n, hash, number;
    struct block *next; /* in its bucket */
} Block;

typedef struct { uint64_t block, count; } Pair;

static Block *buckets[BUCKETS];
static Block **blocks;
static size_t block_count, block_room;
static Pair *pairs;
static FILE *blocks_file, *counts_file;
static int in_region;
static unsigned region_vcpu;
static long region_start;

static Block *find(uint64_t address, uint32_t n, const uint32_t *code)
{
    uint32_t hash = 2166136261u ^ (uint32_t)address ^ (uint32_t)(address >> 20);
    for (uint32_t i = 0; i < n; i++) hash = (hash ^ code[i]) * 16777619u;
    Block **bucket = &buckets[hash % BUCKETS];
    for (Block *b = *bucket; b; b = b->next)
        if (b->address == address && b->n == n && b->hash == hash) return b;
    Block *b = calloc(1, sizeof *b);
    b->address = address, b->n = n, b->hash = hash, b->number = block_count, b->next = *bucket;
    *bucket = b;
    if (block_count == block_room) {
        block_room = block_room ? 2 * block_room : 1 << 16;
        blocks = realloc(blocks, block_room * sizeof *blocks);
        pairs = realloc(pairs, block_room * sizeof *pairs);
    }
    blocks[block_count++] = b;
    fwrite(&n, sizeof n, 1, blocks_file);
    fwrite(code, sizeof *code, n, blocks_file);
    return b;
}

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    (void)id;
    uint32_t code[MAX_INSTRUCTIONS];
    size_t n = qemu_plugin_tb_n_insns(tb);
    if (n > MAX_INSTRUCTIONS) abort();
    for (size_t i = 0; i < n; i++)
        memcpy(&code[i], qemu_plugin_insn_data(qemu_plugin_tb_get_insn(tb, i)), sizeof *code);
    Block *b = find(qemu_plugin_tb_vaddr(tb), n, code);
    qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64, &b->count, 1);
}

static void forget_counts(void)
{
    for (size_t i = 0; i < block_count; i++) blocks[i]->seen = blocks[i]->count;
}

/* A region's number is known only at its end: it is 0 until `name_region` sets it. */
static void write_segment(void)
{
    uint64_t head[2] = { 0, 0 };
    for (size_t i = 0; i < block_count; i++) {
        Block *b = blocks[i];
        if (b->count == b->seen) continue;
        pairs[head[1]++] = (Pair){ i, b->count - b->seen };
        b->seen = b->count;
    }
    fwrite(head, sizeof head, 1, counts_file);
    fwrite(pairs, sizeof *pairs, head[1], counts_file);
}

static void name_region(uint64_t region)
{
    long end = ftell(counts_file);
    for (long at = region_start; at < end;) {
        uint64_t head[2];
        fseek(counts_file, at, SEEK_SET);
        if (fread(head, sizeof head, 1, counts_file) != 1) abort();
        fseek(counts_file, at, SEEK_SET);
        fwrite(&region, sizeof region, 1, counts_file);
        at += sizeof head + head[1] * sizeof(Pair);
    }
    fseek(counts_file, end, SEEK_SET);
    fflush(counts_file);
    fflush(blocks_file);
}

static void on_system_call(qemu_plugin_id_t id, unsigned vcpu, int64_t number, uint64_t a1,
                           uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6,
                           uint64_t a7, uint64_t a8)
{
    (void)id, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number == CLOCK_GETTIME && in_region && vcpu == region_vcpu) {
        write_segment();
    } else if (number == LSEEK && (int32_t)a1 == -1 && a2 >> 16 == MARK) {
        uint64_t region = a2 & 0xffff;
        if (!region) {
            forget_counts();
            region_vcpu = vcpu, region_start = ftell(counts_file), in_region = 1;
        } else if (in_region) {
            write_segment();
            name_region(region);
            in_region = 0;
        }
    }
}

static FILE *open_beside(const char *prefix, const char *suffix)
{
    char path[4096];
    snprintf(path, sizeof path, "%s.%s", prefix, suffix);
    return fopen(path, "w+b");
}

QEMU_PLUGIN_EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc,
                                           char **argv)
{
    (void)info;
    const char *prefix = "block_counts";
    for (int i = 0; i < argc; i++)
        if (!strncmp(argv[i], "out=", 4)) prefix = argv[i] + 4;
    blocks_file = open_beside(prefix, "blocks");
    counts_file = open_beside(prefix, "counts");
    if (!blocks_file || !counts_file) return -1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
    qemu_plugin_register_vcpu_syscall_cb(id, on_system_call);
    return 0;
}
