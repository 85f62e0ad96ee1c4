// A condition: redrawn at a chosen budget from the data in the page; without it the page shows the middle one.
report.Condition = (() => {
  const { data, find, all, make, button, shape, short, fill, say, hush, TEXT, INTERVAL, N, VALUE, LOW, HIGH } = report;
  const COLOURS = ["c0", "c1", "c2", "c3", "c4", "c5"];
  const wide = (text) => make("tr", "gap", Object.assign(make("td", "", text), { colSpan: 99 }));

  return class Condition {
    constructor(node) {
      this.data = data.conditions[Number(node.dataset.index)];
      this.names = data.classes[this.data.classes];
      this.links = new Set(data.paged);
      Object.assign(this, { node, at: this.data.start, word: "", whole: this.data.few });
      this.sort = { key: this.data.accuracy < 0 ? "name" : String(this.data.accuracy), down: false };
      this.body = find(".classes tbody", node);
      this.svg = find("svg.curve", node);
      if (this.body) this.table();
      if (this.svg) this.plot();
    }

    key(index) {
      return `${this.data.classes}-${index}`;
    }

    // A class's name, as a link where the report has a page of it.
    name(index, text) {
      const name = make("bdi", "", text);
      if (!this.links.has(this.key(index))) return name;
      return Object.assign(make("a", "", name), { href: `#class-${this.key(index)}` });
    }

    cell(column, index, at = this.at) {
      const cells = this.data.cells[column];
      return data.scores[(cells[at] ?? cells[0])[index]];
    }

    show(at) {
      this.at = Math.max(0, Math.min(at, this.data.budgets.length - 1));
      if (!this.data.reading.length) return;
      for (const node of all("[data-at]", this.node)) node.textContent = this.data.budgets[this.at];
      for (const node of all("[data-figure]", this.node)) {
        const one = data.scores[this.data.figures[this.at][Number(node.dataset.figure)]];
        node.parentElement.hidden = one[TEXT] === "–" && !one[N]; // not measured at this budget
        fill(node, one, true, true);
      }
      find("[data-reading]", this.node).textContent = this.data.reading[this.at].join(" ");
      if (this.body) this.rows();
      this.confusions();
      if (this.svg) this.mark(".chosen", this.at + 1);
    }

    // -- the class table ------------------------------------------------------------------------
    table() {
      for (const head of all("[data-sort]", this.node)) {
        const key = head.dataset.sort;
        const sort = () => { this.sort = { key, down: this.sort.key === key && !this.sort.down }; this.rows(); };
        head.replaceChildren(button("", [head.textContent], sort));
      }
      const search = find(".search input", this.node);
      search?.addEventListener("input", () => { this.word = search.value.trim().toLowerCase(); this.rows(); });
    }

    order() {
      const { key, down } = this.sort;
      const found = [...this.names.keys()].filter((i) => this.names[i].toLowerCase().includes(this.word));
      if (key === "name") return down ? found.reverse() : found;
      const rank = found.map((i) => {
        const entry = this.cell(key === "n" ? this.data.accuracy : Number(key), i);
        const value = key === "n" ? entry[N] : entry[VALUE] ?? Number.parseFloat(entry[TEXT]);
        return [Number.isNaN(value) ? Infinity : down ? -value : value, i];
      });
      return rank.sort((a, b) => (a[0] === b[0] ? a[1] - b[1] : a[0] - b[0])).map(([, i]) => i);
    }

    rows() {
      const how = { [this.sort.key]: this.sort.down ? "descending" : "ascending" };
      for (const head of all("[data-sort]", this.node)) head.ariaSort = how[head.dataset.sort] ?? null;
      const [order, ends] = [this.order(), this.data.ends], left = order.length - 2 * ends;
      const rows = (some) => some.map((i) => this.row(i));
      const more = button("", [`Show the ${left.toLocaleString("en")} classes between`], () => { this.whole = true; this.rows(); });
      if (!order.length) this.body.replaceChildren(wide("no class is called that"));
      else if (this.whole || left < 2 || (this.word && left < 100)) this.body.replaceChildren(...rows(order));
      else this.body.replaceChildren(...rows(order.slice(0, ends)), wide(more), ...rows(order.slice(-ends)));
    }

    row(index) {
      const head = make("th", "", this.name(index, this.names[index]));
      const row = make("tr");
      row.dataset.class = this.key(index);
      row.append(Object.assign(head, { scope: "row", title: this.names[index] }));
      this.data.columns.forEach((column, c) => {
        const entry = this.cell(c, index);
        row.append(fill(make("td", column.bar ? "wide" : "num"), entry, column.bar, false));
        if (c === this.data.accuracy) row.append(make("td", "num", entry[N].toLocaleString("en")));
      });
      return row;
    }

    // -- who is taken for whom ------------------------------------------------------------------
    confusions() {
      const side = find('[data-side="own"]', this.node);
      const { matrix, pairs } = this.data.confusion[this.at];
      all(".heat tbody tr", side).forEach((row, i) => {
        const of = matrix[i].reduce((a, b) => a + b, 0);
        all("td", row).forEach((cell, j) => {
          const share = of ? matrix[i][j] / of : 0;
          cell.textContent = matrix[i][j] || "";
          cell.classList.toggle("deep", share > 0.6);
          cell.style.setProperty("--s", Math.sqrt(share).toFixed(3));
          cell.title = `${short(this.names[i])} → ${short(this.names[j])}: ${matrix[i][j]} of ${of}`;
        });
      });
      const rows = pairs.slice(0, matrix ? 5 : 20).map(([i, j, n, of]) => {
        const ends = [i, j].map((index) => this.name(index, short(this.names[index])));
        const row = make("tr", "", make("td", "", ends[0], " → ", ends[1]),
          make("td", "num", n), make("td", "num", `${((100 * n) / of).toFixed(1)}\u202f%`));
        row.dataset.class = `${this.key(i)} ${this.key(j)}`;
        return row;
      });
      find(".pairs tbody", side).replaceChildren(...(rows.length ? rows : [wide("no image is misclassified")]));
    }

    // -- the chart ------------------------------------------------------------------------------
    plot() {
      const plot = find(".plot", this.node);
      const screen = (at) => {
        const box = this.svg.getBoundingClientRect();
        return [box.left + (this.data.x[at] / this.svg.viewBox.baseVal.width) * box.width, box.top];
      };
      const nearest = (event) => {
        const off = this.data.x.map((_, at) => Math.abs(screen(at)[0] - event.clientX));
        return off.indexOf(Math.min(...off));
      };
      plot.addEventListener("pointermove", (event) => {
        this.mark(".hair", nearest(event));
        say(this.values(nearest(event)), event.clientX, event.clientY);
      });
      for (const end of ["pointerleave", "blur"]) plot.addEventListener(end, () => { this.mark(".hair", -1); hush(); });
      plot.addEventListener("click", (event) => { if (nearest(event)) report.choose(nearest(event) - 1); });
      plot.addEventListener("keydown", (event) => {
        const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (!step) return;
        event.preventDefault();
        report.choose(this.at + step);
        say(this.values(this.at + 1), ...screen(this.at + 1));
      });
      for (const chip of all("button.chip", this.node)) chip.addEventListener("click", () => this.toggle(chip));
      const input = find(".add input", this.node);
      input?.addEventListener("focus", () => find("#names").replaceChildren(...this.names.map((name) => new Option(name))));
      input?.addEventListener("change", () => {
        const index = this.names.indexOf(input.value);
        if (index < 0) return;
        input.value = "";
        this.add(index, input.parentElement);
      });
    }

    mark(which, at) {
      const line = find(which, this.svg);
      line.style.visibility = at < 0 ? "hidden" : "visible";
      for (const end of ["x1", "x2"]) line.setAttribute(end, this.data.x[Math.max(0, at)]);
    }

    point(key, at) {
      if (key === "all") return data.scores[this.data.overall[at]];
      const column = at ? this.data.accuracy : this.data.clean;
      return column < 0 ? data.scores[0] : this.cell(column, Number(key), Math.max(0, at - 1));
    }

    values(at) {
      const lines = all(".series.on", this.svg).reverse().slice(0, 8).map(({ dataset: { key } }) => {
        const entry = this.point(key, at);
        const name = key === "all" ? "All classes" : short(this.names[Number(key)], 28);
        return `${name}: ${entry[TEXT]}${entry[INTERVAL] ? ` (${entry[INTERVAL]})` : ""}, n = ${entry[N]}`;
      });
      return [at ? `budget ${this.data.budgets[at - 1]}` : "unperturbed", ...lines];
    }

    toggle(chip) {
      const on = chip.ariaPressed !== "true";
      const used = all('button.chip[aria-pressed="true"]', this.node);
      const free = COLOURS.find((c) => !used.some((other) => other.classList.contains(c)));
      const colour = on ? ["on", free ?? COLOURS[used.length % COLOURS.length]] : [];
      const series = find(`.series[data-key="${chip.dataset.key}"]`, this.svg);
      for (const node of series ? [chip, series] : [chip]) {
        node.classList.remove("on", ...COLOURS);
        node.classList.add(...colour);
      }
      if (on && series) find(".series.all", this.svg).before(series);
      chip.ariaPressed = String(on);
    }

    add(index, before) {
      const there = find(`button.chip[data-key="${index}"]`, this.node);
      if (there) return void (there.ariaPressed === "true" || this.toggle(there));
      const [top, foot] = this.data.y;
      const points = this.data.x.map((x, at) => [x, this.point(index, at)]).filter(([, entry]) => entry[VALUE] !== null);
      const place = (which) => points.map(([x, entry]) => `${x} ${(foot + (top - foot) * entry[which]).toFixed(1)}`);
      const group = shape("g", { class: "series", "data-key": index, "data-class": this.key(index) });
      if (points.length) {
        group.append(
          shape("path", { class: "band", d: `M${[...place(HIGH), ...place(LOW).reverse()].join("L")}Z` }),
          shape("path", { class: "line", d: `M${place(VALUE).join("L")}` }),
          shape("path", { class: "dots", d: place(VALUE).map((p) => `M${p}h0`).join("") }));
      }
      find(".series.all", this.svg).before(group);
      const chip = button("chip", [make("i"), short(this.names[index], 28)], (node) => this.toggle(node));
      Object.assign(chip, { title: this.names[index] }).dataset.key = index;
      chip.dataset.class = this.key(index);
      before.before(chip);
      this.toggle(chip);
    }
  };
})();
