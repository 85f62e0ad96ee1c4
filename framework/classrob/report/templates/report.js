// Redraws a condition at a chosen budget from the data in the page; without it the page shows the middle one.
(() => {
  "use strict";
  const root = document.documentElement;
  const find = (selector, node = document) => node.querySelector(selector);
  const all = (selector, node = document) => [...node.querySelectorAll(selector)];
  const data = JSON.parse(find("#data").textContent);
  const [TEXT, INTERVAL, N, VALUE, LOW, HIGH] = [0, 1, 2, 3, 4, 5];
  const COLOURS = ["c0", "c1", "c2", "c3", "c4", "c5"];

  function make(tag, style = "", ...content) {
    const node = document.createElement(tag);
    if (style) node.className = style;
    node.append(...content);
    return node;
  }
  function button(style, content, act) {
    const node = Object.assign(make("button", style, ...content), { type: "button" });
    node.addEventListener("click", () => act(node));
    return node;
  }
  function shape(tag, attributes) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  }
  const short = (name, length = 48) => (name.length > length ? `${[...name].slice(0, length - 1).join("")}…` : name);
  const pair = (a, b) => make("td", "", make("bdi", "", short(a)), " → ", make("bdi", "", short(b)));
  const wide = (text) => make("tr", "gap", Object.assign(make("td", "", text), { colSpan: 99 }));

  function fill(node, entry, bar, n) {
    node.replaceChildren(make("span", "v", entry[TEXT]));
    if (bar && entry[VALUE] !== null && entry[LOW] !== null) {
      const range = make("span", "bar");
      range.ariaHidden = "true";
      range.style.cssText = `--l:${entry[LOW]};--v:${entry[VALUE]};--h:${entry[HIGH]}`;
      node.append(range);
    }
    if (entry[INTERVAL]) node.append(" ", make("span", "i", entry[INTERVAL]));
    if (n) node.append(" ", make("span", "i", `${entry[INTERVAL] ? "· " : ""}n = ${entry[N].toLocaleString("en")}`));
    return node;
  }

  // -- light and dark, and the tip beside the pointer -------------------------------------------
  const theme = find("#theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const rename = () => { theme.textContent = dark() ? "Light colours" : "Dark colours"; };
  theme.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; rename(); });
  system.addEventListener("change", rename);
  rename();

  const tip = find("#tip");
  const hush = () => { tip.hidden = true; };

  function say(lines, x, y) {
    tip.replaceChildren(...lines.map((line, i) => make(i ? "div" : "b", "", line)));
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    // In the page's own coordinates, so that it stays at its place when the page is scrolled under it.
    const inside = (wanted, most, scrolled) => `${scrolled + Math.max(8, Math.min(wanted + 14, most - 8))}px`;
    const left = inside(x, root.clientWidth - box.width, scrollX);
    Object.assign(tip.style, { left, top: inside(y, innerHeight - box.height, scrollY) });
  }

  class Condition {
    constructor(node) {
      this.data = data.conditions[Number(node.dataset.index)];
      this.names = data.classes[this.data.classes];
      Object.assign(this, { node, at: this.data.start, word: "", whole: this.data.few });
      this.sort = { key: this.data.accuracy < 0 ? "name" : String(this.data.accuracy), down: false };
      this.body = find(".classes tbody", node);
      this.svg = find("svg.curve", node);
      if (this.body) this.table();
      if (this.svg) this.plot();
    }

    cell(column, index, at = this.at) {
      const cells = this.data.cells[column];
      return data.scores[(cells[at] ?? cells[0])[index]];
    }

    show(at) {
      this.at = Math.max(0, Math.min(at, this.data.budgets.length - 1));
      if (!this.data.reading.length) return;
      for (const node of all("[data-at]", this.node)) node.textContent = this.data.budgets[this.at];
      for (const node of all("[data-figure]", this.node))
        fill(node, data.scores[this.data.figures[this.at][Number(node.dataset.figure)]], true, true);
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
      const head = make("th", "", make("bdi", "", this.names[index]));
      const row = make("tr", "", Object.assign(head, { scope: "row", title: this.names[index] }));
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
      const rows = pairs.slice(0, matrix ? 5 : 20).map(([i, j, n, of]) => make("tr", "", pair(this.names[i], this.names[j]),
        make("td", "num", n), make("td", "num", `${((100 * n) / of).toFixed(1)}\u202f%`)));
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
      plot.addEventListener("click", (event) => { if (nearest(event)) choose(nearest(event) - 1); });
      plot.addEventListener("keydown", (event) => {
        const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (!step) return;
        event.preventDefault();
        choose(this.at + step);
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
      const group = shape("g", { class: "series", "data-key": index });
      if (points.length) {
        group.append(
          shape("path", { class: "band", d: `M${[...place(HIGH), ...place(LOW).reverse()].join("L")}Z` }),
          shape("path", { class: "line", d: `M${place(VALUE).join("L")}` }),
          shape("path", { class: "dots", d: place(VALUE).map((p) => `M${p}h0`).join("") }));
      }
      find(".series.all", this.svg).before(group);
      const chip = button("chip", [make("i"), short(this.names[index], 28)], (node) => this.toggle(node));
      Object.assign(chip, { title: this.names[index] }).dataset.key = index;
      before.before(chip);
      this.toggle(chip);
    }
  }

  // -- which condition, which budget ------------------------------------------------------------
  const picker = find("#picker");
  if (!picker) return;
  const nodes = all(".condition");
  const first = Math.max(0, nodes.findIndex((node) => node.classList.contains("first")));
  const made = new Map();
  const parts = ["model", "dataset", "threat"];
  const select = (part) => find(`[data-part="${part}"] select`, picker);
  const slider = find("input", picker);
  const output = find("output", picker);
  let current = null;

  function choose(at) {
    current.show(at);
    slider.value = current.at;
    output.textContent = current.data.budgets[current.at];
    slider.setAttribute("aria-valuetext", `budget ${output.textContent}`);
  }

  function open(index) {
    const before = current && current.data.budgets[current.at];
    current = made.get(index) ?? new Condition(nodes[index]);
    made.set(index, current);
    const budgets = current.data.budgets;
    nodes.forEach((node, i) => node.classList.toggle("shown", i === index));
    for (const part of parts) select(part).value = current.data[part];
    find('[data-part="budget"]', picker).hidden = budgets.length < 2;
    slider.max = budgets.length - 1;
    choose(budgets.includes(before) ? budgets.indexOf(before) : current.at);
  }

  function follow() {
    const index = nodes.findIndex((node) => `#${node.id}` === location.hash);
    open(index < 0 ? first : index);
    nodes[index]?.scrollIntoView();
  }

  for (const part of parts) {
    const values = [...new Set(data.conditions.map((c) => c[part]))];
    select(part).append(...values.map((text) => new Option(text, text)));
    select(part).parentElement.hidden = values.length < 2;
    select(part).addEventListener("change", () => {
      open(Math.max(0, data.conditions.findIndex((c) => parts.every((p) => c[p] === select(p).value))));
    });
  }
  slider.addEventListener("input", () => choose(Number(slider.value)));
  picker.parentElement.classList.add("ready");
  follow();
  addEventListener("hashchange", () => { if (/^#c\d+$/.test(location.hash)) follow(); });
  addEventListener("beforeprint", () => all("details").forEach((one) => { one.open = true; }));
})();
