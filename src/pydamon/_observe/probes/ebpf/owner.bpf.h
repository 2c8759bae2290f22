/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * For the daemon only, which watches memory for ordinary users: whether a descriptor that one of
 * them sent is an open file of the very memory that is to be watched. The kernel lets a process
 * open /proc/PID/pagemap only if it may read that memory, and the file keeps the memory's `mm`, so
 * that nothing else can take its place. Included by sampler.bpf.c.
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
