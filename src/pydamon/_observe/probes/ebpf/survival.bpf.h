/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Survival sampling: once an epoch, a block of neighbouring pages in each region is cleared; then
 * all blocks are looked at several times, later and later, without clearing them again. When each
 * page was first seen accessed tells how often it is accessed (_model/access_patterns.py).
 *
 * User space runs `settle`, `choose`, clears `ranges`, and runs `arm`, once an epoch. The looks in
 * between happen at timer interrupts, which come anyway (`on_tick`), or where no tracepoint is
 * allowed, whenever user space runs `look_now`.
 *
 * Included by sampler.bpf.c, whose maps and walks it uses.
 */

#define MAX_LOOKS 8   /* the last one is that of `settle` */
#define MAX_ARMED 128 /* blocks that one interrupt looks at: 30 us */
#define NEVER (~0ULL)

/* When to look, and when that was. */
struct pace {
	u64 due;		/* the next look; NEVER while there is none */
	u64 armed_ns;		/* when the epoch began: user space says when it cleared */
	u64 after_ns[MAX_LOOKS]; /* when to look, after that */
	u64 looked_ns[MAX_LOOKS]; /* when it was looked */
	u64 busy_ns;		/* time in interrupts so far */
	u64 interrupts;		/* how many came while a look was waited for */
	u32 n_looks;		/* how many there are to be in an epoch, but for that of `settle` */
	u32 look;		/* how many there were */
	u32 n_armed;		/* blocks in `armed` */
	u32 epoch;		/* its number */
};
MAP(paces, struct pace, 1);

/* One region, and the block of pages that stands for it at the moment. */
struct block {
	u64 start, end;
	u64 addr;
	u64 sample;	/* a page of it, the only one looked at beside another monitor */
	u64 low, high;	/* what is mapped around the region without a gap: clears stay inside */
	u32 target;
	u32 clear_bytes; /* clear so much around the block: a power of two */
	u32 period;	/* choose it in every so manyth epoch... */
	u32 phase;	/* ...of those at which the epoch's number and this add up to 0 */
	/* Sums, for user space: see Survival in _model/survival.py. */
	u32 pages, epochs, unobservable, cleared;
	u32 seen[MAX_LOOKS], hit_epochs[MAX_LOOKS];
	u64 hit[2], miss[2]; /* lowest and highest address of blocks with a hit, and without */
	/* The epoch: one bit a page. */
	u16 valid;	/* pages of the block that are the region's */
	u16 before;	/* accessed when it was chosen, also by pages that are not the region's */
	u16 hot;	/* accessed again right after the clear */
	u16 state;
	u16 young[MAX_LOOKS]; /* accessed at each look */
};
MAP(blocks, struct block, 1);

/* The blocks of this epoch: their indices. */
MAP(armed, u32, MAX_ARMED);

static u64 (*bpf_ktime_get_ns)(void) = (void *)5;

static inline struct pace *get_pace(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&paces, &zero);
}

static inline u32 count_bits(u32 x)
{
	x = x - ((x >> 1) & 0x5555);
	x = (x & 0x3333) + ((x >> 2) & 0x3333);
	x = (x + (x >> 4)) & 0x0f0f;
	return (x + (x >> 8)) & 0x1f;
}

/* Read the entries of the pages of a block, to whose table `e` leads; whether that worked. */
static inline int read_block(const struct control *c, u64 pgd, const struct block *b, u64 e,
			     u64 pages[BLOCK_PAGES])
{
	u64 bytes = BLOCK_PAGES * sizeof(*pages);
	u64 at = entry_at(c, e, b->addr, PAGE_SHIFT) & ~(bytes - 1);

	return !bpf_probe_read_kernel(pages, bytes, (void *)at) &&
	       may_tell(c, pgd, b->addr, PAGE_SHIFT, e);
}

/*
 * Which pages of a block are accessed; of a huge page, the first bit says it. Where another monitor
 * clears bits too, and not seldom, only one page of a block is looked at, which `valid` names:
 * reading back what the other one took costs several reads a page.
 */
static inline u32 look_at_block(const struct control *c, u64 pgd, const struct block *b, u32 *shift)
{
	u64 e = walk_to_pmd(c, pgd, b->addr, shift), pages[BLOCK_PAGES];
	u32 young = 0;

	if (!e)
		return 0;
	if (is_leaf(e))
		return is_accessed(read_back(c, e, *shift));
	*shift = PAGE_SHIFT;
	if (!read_block(c, pgd, b, e, pages))
		return 0;
#pragma clang loop unroll(full)
	for (int i = 0; i < BLOCK_PAGES; i++)
		young |= (u32)(is_accessed(pages[i]) & (if_mapped(c, pages[i]) != 0)) << i;
#ifdef CONTIGUOUS
	if (young && pages[0] & CONTIGUOUS) /* a block is one grain then, or a part of one */
		young = (1U << BLOCK_PAGES) - 1;
#endif
	if (c->young && !c->seldom && !(young & b->valid) &&
	    is_accessed(look_at(c, pgd, b->sample, shift)))
		young |= b->valid;
	return young;
}

static inline struct block *armed_block(u32 slot)
{
	u32 *index = bpf_map_lookup_elem(&armed, &slot);

	return index ? bpf_map_lookup_elem(&blocks, index) : 0;
}

static LOOP_BODY int look_at_armed(u32 slot, struct loop *l)
{
	struct block *b = armed_block(slot);
	u32 shift;
	u64 pgd;

	if (!b)
		return 1;
	pgd = table_of(l, b->target);
	if (pgd)
		b->young[l->look & (MAX_LOOKS - 1)] = look_at_block(l->c, pgd, b, &shift);
	return 0;
}

/* Take the next look, and say when the one after it is due. */
static inline void take_look(struct pace *p, struct control *c)
{
	u32 look = p->look & (MAX_LOOKS - 1), next = (look + 1) & (MAX_LOOKS - 1);
	struct loop l = { .p = p, .c = c, .look = look };

	p->looked_ns[look] = bpf_ktime_get_ns() - p->armed_ns;
	FOR_EACH(p->n_armed, MAX_ARMED, look_at_armed, &l);
	p->look = look + 1;
	if (look + 1 < p->n_looks && look + 1 < MAX_LOOKS - 1)
		p->due = p->armed_ns + p->after_ns[next];
}

/* At every timer interrupt, on every CPU: the first one after a look is due takes it. */
SEC("raw_tp/tick") int on_tick(void *ctx)
{
	struct pace *p = get_pace();
	struct control *c = get_control();
	u64 due, now;

	if (!p || !c)
		return 0;
	due = p->due;
	if (due == NEVER)
		return 0;
	now = bpf_ktime_get_ns();
	p->interrupts++;
	if (now < due || __sync_val_compare_and_swap(&p->due, due, NEVER) != due)
		return 0;
	if (p->look < MAX_LOOKS - 1)
		take_look(p, c);
	p->busy_ns += bpf_ktime_get_ns() - now;
	return 0;
}

/* A look that user space takes. */
SEC("syscall") int look_now(void *ctx)
{
	struct pace *p = get_pace();
	struct control *c = get_control();

	if (!p || !c)
		return -1;
	if (p->look < MAX_LOOKS - 1)
		take_look(p, c);
	return 0;
}

static inline void account(const struct pace *p, struct block *b, u32 young)
{
	u32 mask = b->hot;

	b->pages += count_bits(b->valid);
	b->epochs++;
#pragma clang loop unroll(full)
	for (u32 look = 0; look < MAX_LOOKS; look++) {
		/* A look that did not come would have seen what the end of the epoch does. */
		mask |= (look < p->look ? b->young[look] : young) & b->valid;
		b->seen[look] += count_bits(mask);
		b->hit_epochs[look] += mask != 0;
	}
	if (mask)
		widen(b->hit, b->addr);
	else
		widen(b->miss, b->addr);
}

static LOOP_BODY int settle_block(u32 slot, struct loop *l)
{
	struct block *b = armed_block(slot);
	u32 shift;
	u64 pgd;

	if (!b)
		return 1;
	pgd = table_of(l, b->target);
	if (b->state == ARMED && pgd)
		account(l->p, b, look_at_block(l->c, pgd, b, &shift));
	b->state = IDLE;
	return 0;
}

/* The end of an epoch: the last look, and the sums. */
SEC("syscall") int settle(void *ctx)
{
	struct pace *p = get_pace();
	struct control *c = get_control();
	struct loop l = { .p = p, .c = c };
	u64 now;

	if (!p || !c)
		return -1;
	p->due = NEVER;
	now = bpf_ktime_get_ns() - p->armed_ns;
	/* It stands for looks that did not come, too. */
#pragma clang loop unroll(full)
	for (u32 look = 0; look < MAX_LOOKS; look++)
		if (look >= p->look)
			p->looked_ns[look] = now;
	FOR_EACH(p->n_armed, MAX_ARMED, settle_block, &l);
	p->n_armed = 0;
	return 0;
}

/* Copy the page table around a block, of which more than the block will be cleared. */
static inline void copy_around(struct loop *l, const struct block *b)
{
	u32 n = l->c->n_copied;
	struct place *place = bpf_map_lookup_elem(&places, &n);

	if (!place)
		return;
	place->addr = b->addr;
	place->target = b->target;
	copy_one(n, l);
	l->c->n_copied = n + 1;
}

/* Choose a block of a region at random; whether it can be watched, once `ranges` are cleared. */
static inline int choose_block(struct loop *l, struct block *b, u32 index, u64 pgd)
{
	u64 pages = (b->end - b->start) / PAGE, random, high;
	u32 low, shift, target = b->target;
	struct target *t;

	random = ((u64)bpf_get_prandom_u32() << 32) | bpf_get_prandom_u32();
	b->sample = b->start + random % pages * PAGE;
	b->addr = b->sample & ~(BLOCK_PAGES * PAGE - 1);
	low = b->addr < b->start ? (b->start - b->addr) / PAGE : 0;
	high = (b->end - b->addr) / PAGE;
	b->valid = (0xffffU << (low & 15)) & (high >= 16 ? 0xffffU : (1U << (high & 15)) - 1);
	if (l->c->young && !l->c->seldom)
		b->valid = 1U << ((b->sample - b->addr) / PAGE & 15);
	b->before = look_at_block(l->c, pgd, b, &shift);
	if (shift != PAGE_SHIFT)
		b->valid = 1;
	if (!(b->before & b->valid))
		return 1;
	t = bpf_map_lookup_elem(&targets, &target);
	if (!t || !ask_to_clear(l->c, t, index, b->addr, shift, b->clear_bytes, b->sample,
				b->low, b->high))
		return 0;
	b->cleared++;
	if (shift != PAGE_SHIFT || b->clear_bytes > BLOCK_PAGES * PAGE)
		copy_around(l, b);
	return 1;
}

static LOOP_BODY int consider_block(u32 at, struct loop *l)
{
	u32 index = l->c->first + at, n = l->p->n_armed, *slot;
	struct block *b = bpf_map_lookup_elem(&blocks, &index);
	u64 pgd;

	if (!b || n >= MAX_ARMED)
		return 1;
	if (b->end <= b->start || !b->period || (l->p->epoch + b->phase) % b->period)
		return 0;
	pgd = table_of(l, b->target);
	slot = bpf_map_lookup_elem(&armed, &n);
	if (!pgd || !slot || !choose_block(l, b, index, pgd))
		return 0;
	*slot = index;
	b->state = ARMED;
	l->p->n_armed = n + 1;
	return 0;
}

/* The start of an epoch: choose blocks, and list those with an accessed page in `ranges`. */
SEC("syscall") int choose(void *ctx)
{
	struct pace *p = get_pace();
	struct control *c = get_control();
	struct loop l = { .p = p, .c = c };

	if (!p || !c)
		return -1;
	c->n_copied = 0;
	c->shift = PAGE_SHIFT;
	FOR_EACH(c->count, MAX_BATCH, consider_block, &l);
	mark(&l, c->n_copied);
	return 0;
}

/* The pages of a block that several processes map: MADV_COLD leaves them as they are. */
static inline u32 shared_in_block(const struct control *c, u64 pgd, const struct block *b)
{
	u32 shift, shared = 0;
	u64 e = walk_to_pmd(c, pgd, b->addr, &shift), pages[BLOCK_PAGES];

	if (!c->page_mapcount || !e || is_leaf(e) || !read_block(c, pgd, b, e, pages))
		return 0;
#pragma clang loop unroll(full)
	for (int i = 0; i < BLOCK_PAGES; i++)
		shared |= (u32)is_shared(c, struct_page(c, physical_address(c, pages[i]))) << i;
	return shared;
}

static LOOP_BODY int arm_block(u32 slot, struct loop *l)
{
	u32 n = l->c->n_ranges, shift, *index = bpf_map_lookup_elem(&armed, &slot), *doubt;
	struct block *b = armed_block(slot);
	u64 pgd;

	if (!b || !index)
		return 1;
	pgd = table_of(l, b->target);
	b->hot = pgd ? look_at_block(l->c, pgd, b, &shift) & b->valid : 0;
	if (b->hot) {
		u32 stuck = b->hot & shared_in_block(l->c, pgd, b);

		b->valid &= ~stuck;
		b->hot &= ~stuck;
		if (!b->valid) {
			b->state = IDLE;
			b->unobservable++;
		}
	}
	doubt = bpf_map_lookup_elem(&pending, &n);
	if (b->hot && doubt) {
		*doubt = *index;
		l->c->n_ranges = n + 1;
	}
	return 0;
}

/*
 * After the clear: the epoch begins. Blocks with a page that still is accessed are left in
 * `pending`: it was touched again at once, or cannot be cleared.
 */
SEC("syscall") int arm(void *ctx)
{
	struct pace *p = get_pace();
	struct control *c = get_control();
	struct loop l = { .p = p, .c = c };

	if (!p || !c)
		return -1;
	p->look = 0;
	p->epoch++;
	FOR_EACH(p->n_armed, MAX_ARMED, arm_block, &l);
	p->due = p->n_looks ? p->armed_ns + p->after_ns[0] : NEVER;
	return 0;
}
