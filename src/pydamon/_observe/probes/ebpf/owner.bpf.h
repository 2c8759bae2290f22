/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * For the daemon only, which watches memory for ordinary users: whether a descriptor that one of
 * them sent is an open file of the very memory that is to be watched. The kernel lets a process
 * open /proc/PID/pagemap only if it may read that memory, and the file keeps the memory's `mm`, so
 * that nothing else can take its place. And what an ordinary user may know of page tables. Included
 * by sampler.bpf.c.
 */

struct file_iter {
	void *meta;
	void *task;
	u32 fd;
	void *file;
};

/*
 * Runs over the daemon's own open files. `first` is the descriptor, `count` the offset of
 * private_data in struct file, and `target` whose memory it should be: `peeked[0]` becomes 1 if it
 * is.
 */
SEC("iter/task_file") int find_file(struct file_iter *ctx)
{
	struct control *c = get_control();
	u64 file = (u64)ctx->file;
	struct target *t;
	u32 index;

	if (!c || !file || ctx->fd != c->first)
		return 0;
	index = c->target;
	t = bpf_map_lookup_elem(&targets, &index);
	if (t && t->mm && read_u64(file + c->count) == t->mm)
		c->peeked[0] = 1;
	return 0;
}

/* Of each entry of the copied tables the bits that say how a page is mapped, and none of an address. */
#define MARKS (PRESENT | ACCESSED | LEAF | PROTNONE | SPECIAL)
struct marks {
	u16 entries[PTRS];
};
MAP(marks, struct marks, MAX_TABLES);

static LOOP_BODY int mark_table(u32 slot, struct loop *l)
{
	struct table *table = bpf_map_lookup_elem(&tables, &slot);
	struct marks *marked = bpf_map_lookup_elem(&marks, &slot);

	if (!table || !marked)
		return 1;
#pragma clang loop unroll_count(8)
	for (u32 i = 0; i < PTRS; i++)
		marked->entries[i] = table->entries[i] & MARKS;
	return 0;
}

/* Find the marks of `count` tables that `scan` or `choose` copied. */
SEC("syscall") int mark(void *ctx)
{
	struct control *c = get_control();
	struct loop l = { .c = c };

	if (!c)
		return -1;
	FOR_EACH(c->count, MAX_TABLES, mark_table, &l);
	return 0;
}
