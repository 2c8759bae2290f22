/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * What the daemon may tell ordinary users of copied page tables: the bits of each entry that say
 * how a page is mapped, and none of an address. Included by sampler.bpf.c.
 */

struct marks {
	u16 entries[COPIED];
};
MAP(marks, struct marks, MAX_TABLES);

/* Entries that may be one grain, of which the processor marks any; ACCESSED if these are. */
#ifdef CONTIGUOUS
#define GRAIN (PAGE_SHIFT == 14 ? 128 : PAGE_SHIFT == 16 ? 32 : 16)
static inline u64 accessed_grain(const struct table *table, u32 first)
{
	u64 any = 0;

#pragma clang loop unroll_count(8)
	for (u32 i = first; i < first + GRAIN; i++)
		any |= table->entries[i];
	return table->entries[first] & CONTIGUOUS ? any & ACCESSED : 0;
}
#else
#define GRAIN COPIED
static inline u64 accessed_grain(const struct table *table, u32 first)
{
	return 0;
}
#endif

/*
 * Find the marks of a table that was copied to a slot: what is left of the entry that leads to it,
 * which maps 1 << level bytes.
 */
static inline u64 for_the_user(u32 slot, struct loop *l, struct table *table, u64 e, u32 level)
{
	struct control *c = l->c;
	struct marks *marked;

	if (!is_for_users())
		return e;
	marked = bpf_map_lookup_elem(&marks, &slot);
	if (!marked)
		return 0;
	if (c->shift >= c->top_shift && TOP_COPIED < COPIED) /* what the table held before */
		bpf_probe_read_kernel(table->entries + (TOP_COPIED & (COPIED - 1)),
				      (COPIED - TOP_COPIED) * sizeof(u64), 0);
	for (u32 first = 0; first < COPIED; first += GRAIN) {
		u64 all = accessed_grain(table, first);

#pragma clang loop unroll_count(8)
		for (u32 i = first; i < first + GRAIN; i++)
			marked->entries[i] = marks_of(c, table->entries[i]) | all;
	}
	return marks_of(c, is_leaf(e) ? read_back(c, e, level) : e);
}

/* Entries of which a turn reads back what another monitor took. */
#define AT_A_TIME 8

static LOOP_BODY int read_some_back(u32 turn, struct loop *l)
{
	u32 slot = turn / (COPIED / AT_A_TIME), first = turn % (COPIED / AT_A_TIME) * AT_A_TIME;
	struct table *table = bpf_map_lookup_elem(&tables, &slot);
	struct marks *marked = bpf_map_lookup_elem(&marks, &slot);

	if (!table || !marked)
		return 1;
	for (u32 i = 0; i < AT_A_TIME; i++) {
		u64 e = table->entries[(first + i) & (COPIED - 1)];

		if (if_mapped(l->c, e) && read_back(l->c, e, PAGE_SHIFT) & ACCESSED)
			marked->entries[(first + i) & (COPIED - 1)] |= ACCESSED;
	}
	return 0;
}

/* Where another monitor is at work: mark the pages that it found accessed. */
static inline void read_marks_back(struct loop *l, u32 count)
{
	if (is_for_users() && l->c->young && l->c->shift == PAGE_SHIFT)
		FOR_EACH(count * (COPIED / AT_A_TIME), 0, read_some_back, l);
}
