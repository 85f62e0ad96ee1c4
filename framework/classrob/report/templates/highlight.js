// A class that is pointed at, focused or chosen in one place stands out in every chart, table and heat map.
(() => {
  const { data, find, all, make } = report;
  const main = find("main");
  let chosen = "", passing = "";

  function light(key, style) {
    for (const node of all(`.${style}`, main)) node.classList.remove(style);
    if (key) for (const node of all(`[data-class~="${key}"]`, main)) node.classList.add(style);
    main.classList.toggle("lighting", Boolean(chosen || passing));
  }
  const keyOf = (node) => node.closest?.("[data-class]")?.dataset.class.split(" ")[0] ?? "";
  function pass(key) {
    if (key === passing) return;
    passing = key;
    light(key, "lit");
  }
  main.addEventListener("pointerover", (event) => pass(keyOf(event.target)));
  main.addEventListener("pointerleave", () => pass(""));
  main.addEventListener("focusin", (event) => pass(keyOf(event.target)));
  main.addEventListener("focusout", () => pass(""));

  // -- the class that stays highlighted ---------------------------------------------------------
  const box = find("#chosen");
  if (!box) return;
  const select = find("select", box), input = find("input", box);
  function choose(key) {
    chosen = key;
    light(key, "kept");
  }
  select?.addEventListener("change", () => choose(select.value));
  let condition = null;
  input?.addEventListener("focus", () => find("#names").replaceChildren(...(condition?.names ?? []).map((name) => new Option(name))));
  input?.addEventListener("input", () => {
    const index = condition ? condition.names.indexOf(input.value) : -1;
    choose(index < 0 ? "" : condition.key(index));
  });
  // Rows are made anew whenever a budget or a condition is chosen.
  new MutationObserver(() => { if (chosen) light(chosen, "kept"); }).observe(main, { childList: true, subtree: true });
  const before = report.opened;
  report.opened = (opened) => {
    before?.(opened);
    condition = opened;
    if (select && select.dataset.of !== String(opened.data.classes)) {
      select.dataset.of = opened.data.classes;
      select.replaceChildren(new Option("none", ""), ...opened.names.map((name, i) => new Option(name, opened.key(i))));
      choose("");
    }
    const few = opened.data.few;
    select.hidden = !few;
    input.hidden = few;
    if (chosen) light(chosen, "kept");
  };
  if (report.current) report.opened(report.current());
})();
