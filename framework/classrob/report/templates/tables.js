// Every table: sorted by a click on a column's head, and downloaded as CSV.
(() => {
  const { data, find, all, make, button, N, TEXT, INTERVAL } = report;

  // A cell's text without its bar: the value, and the interval where it has one.
  const words = (cell) => cell.innerText.replace(/[\u2060\u00ad]/g, "").replace(/[\u202f\u00a0]/g, " ").replace(/\s+/g, " ").trim();
  const number = (text) => {
    const found = /^[<>~×+]?\s*([−-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)(?:\/(\d+))?/i.exec(text);
    if (!found) return Number.NaN;
    return Number(found[1].replace("−", "-").replaceAll(",", "")) / Number(found[2] ?? 1);
  };

  // -- sorting ----------------------------------------------------------------------------------
  function sortable(table) {
    const body = table.tBodies[0], heads = table.tHead ? [...table.tHead.rows[0].cells] : [];
    if (!body || body.rows.length < 2 || table.matches(".classes, .heat")) return;
    heads.forEach((head, column) => {
      if (!head.textContent.trim()) return;
      const sort = () => {
        const down = head.ariaSort === "ascending";
        for (const other of heads) other.ariaSort = null;
        head.ariaSort = down ? "descending" : "ascending";
        const cells = [...body.rows].map((row) => [row.cells[column]?.innerText.trim() ?? "", row]);
        const numeric = cells.some(([text]) => !Number.isNaN(number(text)));
        const rank = ([text]) => { const value = number(text); return Number.isNaN(value) ? Infinity : down ? -value : value; };
        const collate = (a, b) => (down ? -1 : 1) * a[0].localeCompare(b[0], undefined, { numeric: true });
        cells.sort(numeric ? (a, b) => (rank(a) === rank(b) ? 0 : rank(a) < rank(b) ? -1 : 1) : collate);
        body.append(...cells.map(([, row]) => row));
      };
      const press = button("", [...head.childNodes], sort);
      head.replaceChildren(press);
    });
  }

  // -- CSV --------------------------------------------------------------------------------------
  // A cell that a spreadsheet would take for a formula is led by an apostrophe, unless it is a plain number.
  function field(text) {
    const plain = /^[+-]?\d[\d.,]*(e[+-]?\d+)?( ?%| pp)?$/i.test(text);
    const safe = /^[=+\-@\t\r]/.test(text) && !plain ? `'${text}` : text;
    return /[",\r\n]|^\s|\s$/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  }
  const csv = (rows) => rows.map((row) => row.map((text) => field(String(text))).join(",")).join("\r\n") + "\r\n";

  function read(table) {
    return [...table.rows].filter((row) => !row.matches(".gap")).map((row) => [...row.cells].map((cell) => words(cell).replaceAll("−", "-")));
  }

  // The class table holds all classes, also those that it does not show.
  function whole(condition) {
    const { columns, accuracy } = condition.data;
    const titles = columns.flatMap((c, i) => [c.title, `${c.title} interval`, ...(i === accuracy ? ["n"] : [])]);
    const tidy = (text) => text.replace(/[\u2060]/g, "").replace(/\u202f/g, " ").replaceAll("−", "-");
    const rows = condition.names.map((name, index) => [name, ...columns.flatMap((_, c) => {
      const entry = condition.cell(c, index);
      return [tidy(entry[TEXT]), tidy(entry[INTERVAL]), ...(c === accuracy ? [entry[N]] : [])];
    })]);
    return [["Class", ...titles], ...rows];
  }

  function save(name, text) {
    const link = Object.assign(make("a"), { href: URL.createObjectURL(new Blob(["\ufeff", text], { type: "text/csv" })), download: `${name}.csv` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  const titled = (table) => (table.caption?.textContent || table.closest("[aria-label]")?.ariaLabel || "table").trim();
  report.csv = (table) => {
    const condition = table.matches(".classes") ? report.conditionOf?.(table.closest(".condition")) : null;
    return csv(condition ? whole(condition) : read(table));
  };
  for (const table of all("main table")) {
    sortable(table);
    const name = titled(table);
    const file = name.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").slice(0, 60) || "table";
    const get = button("csv", ["CSV"], () => save(file, report.csv(table)));
    get.setAttribute("aria-label", `Download as CSV: ${name}`);
    (table.closest(".scroll") ?? table).after(get);
  }
})();
