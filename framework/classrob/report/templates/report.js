// Redraws one condition at a chosen budget from the data in the page; without it the page shows the middle budget.
(() => {
  "use strict";
  const root = document.documentElement;
  const data = JSON.parse(document.getElementById("data").textContent);
  const tip = document.getElementById("tip");
  const [TEXT, INTERVAL, N, VALUE, LOW, HIGH] = [0, 1, 2, 3, 4, 5];
  const score = (index) => data.scores[index];

  function make(tag, style = "", text = "") {
    const node = document.createElement(tag);
    if (style) node.className = style;
    if (text !== "") node.textContent = text;
    return node;
  }

  // -- light and dark ---------------------------------------------------------------------------
  const theme = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const name = () => { theme.textContent = dark() ? "Light colours" : "Dark colours"; };
  theme.hidden = false;
  theme.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; name(); });
  system.addEventListener("change", name);
  name();

  // -- the tip beside the pointer ---------------------------------------------------------------
  function say(lines, x, y) {
    tip.replaceChildren(...lines.map((line, i) => make(i ? "div" : "b", "", line)));
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(8, Math.min(x + 14, innerWidth - box.width - 8))}px`;
    tip.style.top = `${Math.max(8, Math.min(y + 14, innerHeight - box.height - 8))}px`;
  }
  const hush = () => { tip.hidden = true; };

  // -- a score as text, interval and bar --------------------------------------------------------
  function fill(node, entry, { bar = false, n = false } = {}) {
    node.replaceChildren(make("span", "v", entry[TEXT]));
    if (bar && entry[VALUE] !== null && entry[LOW] !== null) {
      const range = make("span", "bar");
      range.setAttribute("aria-hidden", "true");
      for (const [key, at] of [["--l", LOW], ["--v", VALUE], ["--h", HIGH]]) range.style.setProperty(key, entry[at]);
      node.append(range);
    }
    if (entry[INTERVAL]) node.append(" ", make("span", "i", entry[INTERVAL]));
    if (n) node.append(" ", make("span", "i", `n = ${entry[N].toLocaleString("en")}`));
  }

  class Condition {
    constructor(node) {
      this.node = node;
      this.data = data.conditions[Number(node.dataset.index)];
      this.names = data.classes[this.data.classes];
      this.at = this.data.start;
      this.sort = { key: this.data.accuracy >= 0 ? this.data.accuracy : "name", down: false };
      this.find = "";
      this.whole = this.data.few;
      this.drawn = !this.data.cells.length;
      this.table();
      this.plot();
    }

    cell(column, index, at = this.at) {
      const cells = this.data.cells[column];
      return score((cells[at] ?? cells[0])[index]);
    }

    show(at) {
      this.at = Math.max(0, Math.min(at, this.data.budgets.length - 1));
      if (!this.data.reading.length) return;
      for (const node of this.node.querySelectorAll("[data-at]")) node.textContent = this.data.budgets[this.at];
      for (const node of this.node.querySelectorAll("[data-figure]"))
        fill(node, score(this.data.figures[this.at][Number(node.dataset.figure)]), { bar: true, n: true });
      this.node.querySelector("[data-reading]").textContent = this.data.reading[this.at].join(" ");
      this.rows();
      this.confusions();
      this.mark(".chosen", this.at + 1);
    }

    // -- the class table ------------------------------------------------------------------------
    table() {
      this.body = this.node.querySelector(".classes tbody");
      if (!this.body) return;
      for (const head of this.node.querySelectorAll("[data-sort]")) {
        const button = make("button", "", head.textContent);
        button.type = "button";
        head.replaceChildren(button);
        button.addEventListener("click", () => {
          const key = /^\d+$/.test(head.dataset.sort) ? Number(head.dataset.sort) : head.dataset.sort;
          this.sort = { key, down: this.sort.key === key && !this.sort.down };
          this.rows();
        });
      }
      const search = this.node.querySelector(".search");
      if (search) {
        search.hidden = false;
        search.querySelector("input").addEventListener("input", (event) => {
          this.find = event.target.value.trim().toLowerCase();
          this.rows();
        });
      }
    }

    order() {
      const { key, down } = this.sort;
      const found = this.names.map((_, i) => i).filter((i) => this.names[i].toLowerCase().includes(this.find));
      const value = (i) => {
        const entry = this.cell(key === "n" ? this.data.accuracy : key, i);
        return key === "n" ? entry[N] : entry[VALUE] ?? Number.parseFloat(entry[TEXT]);
      };
      if (key !== "name") {
        const values = new Map(found.map((i) => [i, value(i)]));
        const rank = (i) => (Number.isNaN(values.get(i)) ? Infinity : down ? -values.get(i) : values.get(i));
        found.sort((a, b) => rank(a) - rank(b) || a - b);
      } else if (down) found.reverse();
      return found;
    }

    rows() {
      if (!this.body) return;
      for (const head of this.node.querySelectorAll("[data-sort]")) {
        if (head.dataset.sort === String(this.sort.key))
          head.setAttribute("aria-sort", this.sort.down ? "descending" : "ascending");
        else head.removeAttribute("aria-sort");
      }
      const order = this.order();
      const ends = this.data.ends;
      const note = this.node.querySelector("[data-static]");
      if (note) note.hidden = true;
      if (this.whole || this.find || order.length <= 2 * ends + 1) {
        this.body.replaceChildren(...order.map((i) => this.row(i)));
        if (!order.length) this.body.append(this.gap("no class is called that"));
        return;
      }
      const more = make("button", "", `Show the ${(order.length - 2 * ends).toLocaleString("en")} classes between`);
      more.type = "button";
      more.addEventListener("click", () => { this.whole = true; this.rows(); });
      this.body.replaceChildren(
        ...order.slice(0, ends).map((i) => this.row(i)), this.gap(more), ...order.slice(-ends).map((i) => this.row(i)));
    }

    gap(content) {
      const row = make("tr", "gap");
      const cell = make("td");
      cell.colSpan = 99;
      cell.append(content);
      row.append(cell);
      return row;
    }

    row(index) {
      const row = make("tr");
      const head = make("th");
      head.scope = "row";
      head.title = this.names[index];
      head.append(make("bdi", "", this.names[index]));
      row.append(head);
      this.data.columns.forEach((column, c) => {
        const entry = this.cell(c, index);
        const cell = make("td", column.bar ? "wide" : "num");
        fill(cell, entry, { bar: column.bar });
        row.append(cell);
        if (c === this.data.accuracy) row.append(make("td", "num", entry[N].toLocaleString("en")));
      });
      return row;
    }

    // -- who is taken for whom ------------------------------------------------------------------
    confusions() {
      const side = this.node.querySelector('[data-side="own"]');
      const { matrix, pairs } = this.data.confusion[this.at];
      if (matrix) {
        side.querySelectorAll(".heat tbody tr").forEach((row, i) => {
          const of = matrix[i].reduce((a, b) => a + b, 0);
          row.querySelectorAll("td").forEach((cell, j) => {
            const n = matrix[i][j];
            const share = of ? n / of : 0;
            cell.textContent = n || "";
            cell.classList.toggle("deep", share > 0.6);
            cell.style.setProperty("--s", Math.sqrt(share).toFixed(3));
            cell.title = `${this.names[i]} → ${this.names[j]}: ${n} of ${of}`;
          });
        });
      }
      const body = side.querySelector(".pairs tbody");
      body.replaceChildren(...pairs.slice(0, matrix ? 5 : 20).map(([i, j, n, of]) => {
        const row = make("tr");
        const who = make("td");
        who.append(make("bdi", "", this.names[i]), " → ", make("bdi", "", this.names[j]));
        row.append(who, make("td", "num", n), make("td", "num", `${((100 * n) / of).toFixed(1)}\u202f%`));
        return row;
      }));
      if (!pairs.length) body.append(this.gap("no image is misclassified"));
    }

    // -- the chart ------------------------------------------------------------------------------
    plot() {
      this.svg = this.node.querySelector("svg.curve");
      if (!this.svg) return;
      const plot = this.node.querySelector(".plot");
      const nearest = (event) => {
        const box = this.svg.getBoundingClientRect();
        const x = ((event.clientX - box.left) / box.width) * this.svg.viewBox.baseVal.width;
        return this.data.x.reduce((best, place, i) => (Math.abs(place - x) < Math.abs(this.data.x[best] - x) ? i : best), 0);
      };
      plot.addEventListener("pointermove", (event) => {
        const at = nearest(event);
        this.mark(".hair", at);
        say(this.values(at), event.clientX, event.clientY);
      });
      const leave = () => { this.mark(".hair", -1); hush(); };
      plot.addEventListener("pointerleave", leave);
      plot.addEventListener("blur", leave);
      plot.addEventListener("click", (event) => { const at = nearest(event); if (at > 0) choose(at - 1); });
      plot.addEventListener("keydown", (event) => {
        const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (!step) return;
        event.preventDefault();
        choose(this.at + step);
        const box = this.svg.getBoundingClientRect();
        say(this.values(this.at + 1), box.left + (this.data.x[this.at + 1] / this.svg.viewBox.baseVal.width) * box.width, box.top);
      });
      for (const chip of this.node.querySelectorAll("button.chip"))
        chip.addEventListener("click", () => this.toggle(chip));
      const add = this.node.querySelector(".add");
      if (add) {
        add.hidden = false;
        const input = add.querySelector("input");
        input.addEventListener("focus", () => suggest(this.names));
        input.addEventListener("change", () => {
          const index = this.names.indexOf(input.value);
          if (index < 0) return;
          input.value = "";
          this.add(index, add);
        });
      }
    }

    mark(which, at) {
      const line = this.svg && this.svg.querySelector(which);
      if (!line) return;
      line.style.visibility = at < 0 ? "hidden" : "visible";
      for (const end of ["x1", "x2"]) line.setAttribute(end, this.data.x[Math.max(0, at)]);
    }

    point(key, at) {
      if (key === "all") return score(this.data.overall[at]);
      if (at === 0) return this.data.clean < 0 ? score(0) : this.cell(this.data.clean, Number(key));
      return this.data.accuracy < 0 ? score(0) : this.cell(this.data.accuracy, Number(key), at - 1);
    }

    values(at) {
      const lines = [at ? `budget ${this.data.budgets[at - 1]}` : "unperturbed"];
      const on = [...this.svg.querySelectorAll(".series.on")].reverse();
      for (const series of on.slice(0, 8)) {
        const key = series.dataset.key;
        const entry = this.point(key, at);
        const called = key === "all" ? "All classes" : this.names[Number(key)].slice(0, 28);
        lines.push(`${called}: ${entry[TEXT]}${entry[INTERVAL] ? ` (${entry[INTERVAL]})` : ""}, n = ${entry[N]}`);
      }
      return lines;
    }

    toggle(chip) {
      const on = chip.getAttribute("aria-pressed") !== "true";
      const series = this.svg.querySelector(`.series[data-key="${chip.dataset.key}"]`);
      const used = [...this.node.querySelectorAll('button.chip[aria-pressed="true"]')];
      const free = [0, 1, 2, 3, 4, 5].find((c) => !used.some((other) => other.classList.contains(`c${c}`)));
      for (const node of [chip, series].filter(Boolean)) {
        node.classList.remove("c0", "c1", "c2", "c3", "c4", "c5");
        node.classList.toggle("on", on);
        if (on) node.classList.add(`c${free ?? used.length % 6}`);
      }
      if (on && series) this.svg.querySelector(".series.all").before(series);
      chip.setAttribute("aria-pressed", String(on));
    }

    add(index, before) {
      const there = this.node.querySelector(`button.chip[data-key="${index}"]`);
      if (there) { if (there.getAttribute("aria-pressed") !== "true") this.toggle(there); return; }
      const [top, foot] = this.data.y;
      const points = this.data.x.map((x, at) => [x, this.point(index, at)]).filter(([, entry]) => entry[VALUE] !== null);
      const place = ([x, entry], which) => `${x} ${(foot + (top - foot) * entry[which]).toFixed(1)}`;
      const group = document.createElementNS("http://www.w3.org/2000/svg", "g");
      group.setAttribute("class", "series");
      group.dataset.key = index;
      const shapes = [
        ["band", `M${points.map((p) => place(p, HIGH)).join("L")}L${points.map((p) => place(p, LOW)).reverse().join("L")}Z`],
        ["line", `M${points.map((p) => place(p, VALUE)).join("L")}`],
        ["dots", points.map((p) => `M${place(p, VALUE)}h0`).join("")]];
      for (const [style, path] of points.length ? shapes : []) {
        const shape = document.createElementNS("http://www.w3.org/2000/svg", "path");
        shape.setAttribute("class", style);
        shape.setAttribute("d", path);
        group.append(shape);
      }
      this.svg.querySelector(".series.all").before(group);
      const chip = make("button", "chip");
      chip.type = "button";
      chip.dataset.key = index;
      chip.title = this.names[index];
      chip.append(make("i"), this.names[index].slice(0, 28));
      chip.addEventListener("click", () => this.toggle(chip));
      before.before(chip);
      this.toggle(chip);
    }
  }

  function suggest(names) {
    document.getElementById("names")?.remove();
    const list = make("datalist");
    list.id = "names";
    list.append(...names.map((text) => { const option = make("option"); option.value = text; return option; }));
    document.body.append(list);
  }

  // -- which condition, which budget ------------------------------------------------------------
  const nodes = [...document.querySelectorAll(".condition")];
  const made = new Map();
  const picker = document.getElementById("picker");
  if (!picker) return;
  const parts = ["model", "dataset", "threat"];
  const select = (part) => picker.querySelector(`[data-part="${part}"] select`);
  const slider = picker.querySelector("input");
  const output = picker.querySelector("output");
  let current = null;

  for (const part of parts) {
    const values = [...new Set(data.conditions.map((c) => c[part]))];
    select(part).append(...values.map((text) => new Option(text, text)));
    picker.querySelector(`[data-part="${part}"]`).hidden = values.length < 2;
    select(part).addEventListener("change", () => {
      const wanted = parts.map((p) => select(p).value);
      const index = data.conditions.findIndex((c) => parts.every((p, i) => c[p] === wanted[i]));
      if (index >= 0) open(index);
    });
  }

  function open(index) {
    const node = nodes[index];
    if (!made.has(index)) made.set(index, new Condition(node));
    const before = current && current.data.budgets[current.at];
    current = made.get(index);
    for (const other of nodes) other.classList.toggle("shown", other === node);
    for (const part of parts) select(part).value = current.data[part];
    const budgets = current.data.budgets;
    picker.querySelector('[data-part="budget"]').hidden = budgets.length < 2;
    slider.max = budgets.length - 1;
    choose(budgets.includes(before) ? budgets.indexOf(before) : current.at);
  }

  function choose(at) {
    current.show(at);
    slider.value = current.at;
    output.textContent = current.data.budgets[current.at];
    slider.setAttribute("aria-valuetext", `budget ${output.textContent}`);
  }

  slider.addEventListener("input", () => choose(Number(slider.value)));
  function follow() {
    const target = /^#c\d+$/.test(location.hash) && document.querySelector(location.hash);
    if (!target || !nodes.includes(target)) return false;
    open(nodes.indexOf(target));
    target.scrollIntoView();
    return true;
  }
  addEventListener("hashchange", follow);
  picker.hidden = false;
  picker.parentElement.classList.add("ready");
  if (!follow()) open(Math.max(0, nodes.findIndex((node) => node.classList.contains("first"))));
  addEventListener("scroll", hush, { passive: true });
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((d) => { d.open = true; }));
})();
