/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the daemon may tell ordinary users of copied page tables: the bits of each entry that say
 * how a page is mapped, and none of an address. Included by sampler.bpf.c.
 */

struct marks {
	u16 entries[COPIED];
};
MAP(marks, struct marks, MAX_TABLES);

/*
 * What a user may know of the entry that leads to a table which was copied to a slot; that entry
 * maps 1 << level bytes.
 */
static inline u64 for_the_user(const struct control *c, struct table *table, u64 e, u32 level)
{
	u64 copied = top_copied();

	if (!is_for_users())
		return e;
	if (c->shift >= c->top_shift && copied < COPIED) /* what the table held before */
		bpf_probe_read_kernel(table->entries + copied, (COPIED - copied) * sizeof(u64), 0);
	return marks_of(c, is_leaf(e) ? read_back(c, e, level) : e);
}

/* Entries that may be one grain, of which the processor marks any; ACCESSED if these are. */
#ifdef CONTIGUOUS
#define GRAIN (PAGE_SHIFT == 14 ? 128 : PAGE_SHIFT == 16 ? 32 : 16)
static inline u64 accessed_grain(const u64 *entries)
{
	u64 any = 0;

#pragma clang loop unroll_count(8)
	for (u32 i = 0; i < GRAIN; i++)
		any |= entries[i];
	return entries[0] & CONTIGUOUS ? any & ACCESSED : 0;
}
#else
#define GRAIN MARKED
static inline u64 accessed_grain(const u64 *entries)
{
	return 0;
}
#endif

/* Entries that one turn marks, and of which one turn reads back what another monitor took. */
#define MARKED 128
#define READ_BACK 8

static LOOP_BODY int mark_some(u32 turn, struct loop *l)
{
	u32 slot = turn / (COPIED / MARKED), first = turn % (COPIED / MARKED) * MARKED;
	struct table *table = bpf_map_lookup_elem(&tables, &slot);
	struct marks *marked = bpf_map_lookup_elem(&marks, &slot);

	if (!table || !marked)
		return 1;
	for (u32 grain = 0; grain < MARKED; grain += GRAIN) {
		const u64 *entries = table->entries + first + grain;
		u64 all = accessed_grain(entries);

#pragma clang loop unroll_count(8)
		for (u32 i = 0; i < GRAIN; i++)
			marked->entries[first + grain + i] = marks_of(l->c, entries[i]) | all;
	}
	return 0;
}

static LOOP_BODY int read_some_back(u32 turn, struct loop *l)
{
	u32 slot = turn / (COPIED / READ_BACK), first = turn % (COPIED / READ_BACK) * READ_BACK;
	struct table *table = bpf_map_lookup_elem(&tables, &slot);
	struct marks *marked = bpf_map_lookup_elem(&marks, &slot);

	if (!table || !marked)
		return 1;
	for (u32 i = 0; i < READ_BACK; i++) {
		u64 e = table->entries[first + i];

		if (if_mapped(l->c, e) && read_back(l->c, e, PAGE_SHIFT) & ACCESSED)
			marked->entries[first + i] |= ACCESSED;
	}
	return 0;
}

/* Find the marks of `count` copied tables; where another monitor is at work, what it found, too. */
static inline void mark(struct loop *l, u32 count)
{
	if (!is_for_users())
		return;
	FOR_EACH(count * (COPIED / MARKED), 0, mark_some, l);
	if (l->c->young && l->c->shift == PAGE_SHIFT)
		FOR_EACH(count * (COPIED / READ_BACK), 0, read_some_back, l);
}
