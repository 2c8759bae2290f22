/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The walk of the BPF program, compiled for this machine: it reads a buffer instead of the kernel's
 * memory. test_walk.py calls it.
 */
#define WITHOUT_BPF_LOOP
#define WITHOUT_DIRECT_READS
#define PUT_IN_user_entries entries_for_users
static unsigned long long entries_for_users;
#include "sampler.bpf.c"

static const u8 *buffer;
static u64 buffer_at, buffer_bytes;

static long read_buffer(void *to, u32 size, const void *from)
{
	u64 at = (u64)from - buffer_at;

	if (at >= buffer_bytes || size > buffer_bytes - at)
		return -14;
	for (u32 i = 0; i < size; i++)
		((u8 *)to)[i] = buffer[at + i];
	return 0;
}

/* What is at address `at` of the kernel, and for whom the programs are: see user_entries. */
void set_memory(const u8 *memory, u64 bytes, u64 at, u64 entries)
{
	entries_for_users = entries;
	bpf_probe_read_kernel = read_buffer;
	buffer = memory;
	buffer_bytes = bytes;
	buffer_at = at;
}

u64 walked(const u64 *facts, u64 pgd, u64 addr, u32 *shift)
{
	struct control c = { .direct_map = facts[0], .phys_mask = facts[1], .top_shift = facts[2],
			     .high_mask = facts[3], .absent_mask = facts[4] };

	return walk(&c, pgd, addr, shift);
}

u64 walked_to(const u64 *facts, u64 pgd, u64 addr, u32 bottom, u32 *shift)
{
	struct control c = { .direct_map = facts[0], .phys_mask = facts[1], .top_shift = facts[2],
			     .high_mask = facts[3], .absent_mask = facts[4] };

	return walk_to(&c, pgd, addr, bottom, shift);
}

u64 told(const u64 *facts, u64 pgd, u64 addr, u32 bottom, u64 entry)
{
	struct control c = { .direct_map = facts[0], .phys_mask = facts[1], .top_shift = facts[2],
			     .high_mask = facts[3], .absent_mask = facts[4] };

	return may_tell(&c, pgd, addr, bottom, entry);
}

/* What the daemon tells of entries: the real one, in place of what programs without bpf_loop have. */
#define for_the_user marks_for_the_user
#include "users.bpf.h"

static struct table copied;
static struct marks told_of;

static void *find(void *map, const void *key)
{
	return map == &tables ? (void *)&copied : (void *)&told_of;
}

void marked(const u64 *facts, const u64 *entries, u16 *to)
{
	struct control c = { .phys_mask = facts[1], .high_mask = facts[3], .absent_mask = facts[4] };
	struct loop l = { .c = &c };

	bpf_map_lookup_elem = find;
	for (u32 i = 0; i < COPIED; i++)
		copied.entries[i] = entries[i];
	for (u32 turn = 0; turn < COPIED / MARKED; turn++)
		mark_some(turn, &l);
	for (u32 i = 0; i < COPIED; i++)
		to[i] = told_of.entries[i];
}
