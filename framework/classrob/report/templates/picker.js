// Which condition is shown, at which budget.
(() => {
  const { data, find, all, Condition } = report;
  const picker = find("#picker");
  report.choose = () => {};
  if (!picker) return;
  const nodes = all(".condition");
  const first = Math.max(0, nodes.findIndex((node) => node.classList.contains("first")));
  const made = new Map();
  const parts = ["model", "dataset", "threat"];
  const select = (part) => find(`[data-part="${part}"] select`, picker);
  const slider = find("input", picker);
  const output = find("output", picker);
  let current = null;

  report.choose = function choose(at) {
    current.show(at);
    slider.value = current.at;
    output.textContent = current.data.budgets[current.at];
    slider.setAttribute("aria-valuetext", `budget ${output.textContent}`);
  };
  const choose = (at) => report.choose(at);
  report.current = () => current;
  report.conditionOf = (node) => made.get(nodes.indexOf(node));

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
    report.opened?.(current);
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
  // A link to a class opens its page.
  const unfold = () => {
    const page = /^#class-\d+-\d+$/.test(location.hash) && find(location.hash);
    if (page) { page.open = true; page.scrollIntoView(); }
  };
  unfold();
  addEventListener("hashchange", unfold);
  addEventListener("hashchange", () => { if (/^#c\d+$/.test(location.hash)) follow(); });
  addEventListener("beforeprint", () => all("details").forEach((one) => { one.open = true; }));
})();
