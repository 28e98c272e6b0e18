// The only script of our own: theme, copy buttons, menus, dialogs, tabs. Every page works without it.
(() => {
  "use strict";

  const root = document.documentElement;

  const remember = (theme) => {
    const secure = location.protocol === "https:" ? "; Secure" : "";
    document.cookie = `theme=${theme}; Path=/; Max-Age=31536000; SameSite=Lax${secure}`;
  };

  const isDark = () =>
    root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;

  const describeTheme = () => {
    for (const button of document.querySelectorAll("[data-theme-toggle]")) {
      button.setAttribute("aria-pressed", String(isDark()));
    }
  };

  const toggleTheme = () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    remember(root.dataset.theme);
    describeTheme();
  };

  const announce = (text) => {
    const region = document.getElementById("announce");
    if (region) region.textContent = text;
  };

  const copy = async (button) => {
    const source = document.getElementById(button.dataset.copy);
    if (!source) return;
    await navigator.clipboard.writeText((source.value ?? source.textContent).trim());
    button.classList.add("copied");
    announce("Copied to the clipboard");
    setTimeout(() => button.classList.remove("copied"), 1600);
  };

  const openDialog = async (link) => {
    const dialog = document.getElementById("dialog");
    if (!dialog || !dialog.showModal) return false;
    const answer = await fetch(link.href, { headers: { "X-Dialog": "1" }, credentials: "same-origin" });
    if (!answer.ok || answer.redirected) {
      location.assign(link.href);
      return true;
    }
    dialog.innerHTML = await answer.text();
    dialog.setAttribute("aria-labelledby", "dialog-title");
    if (window.htmx) window.htmx.process(dialog);
    dialog.showModal();
    const first = dialog.querySelector("[autofocus], input:not([type=hidden]), select, textarea");
    if (first) first.focus();
    return true;
  };

  const selectTab = (tab) => {
    const list = tab.closest("[role=tablist]");
    for (const other of list.querySelectorAll("[role=tab]")) {
      const chosen = other === tab;
      other.setAttribute("aria-selected", String(chosen));
      other.tabIndex = chosen ? 0 : -1;
      const panel = document.getElementById(other.getAttribute("aria-controls"));
      if (panel) panel.hidden = !chosen;
    }
  };

  // A page that takes a while says so with a line along the top, which CSS shows after half a second. What is a file
  // and no page ends it by itself.
  let arriving = 0;
  const arrive = () => root.classList.remove("leaving");
  const leave = () => {
    root.classList.add("leaving");
    clearTimeout(arriving);
    arriving = setTimeout(arrive, 15000);
  };

  const countPicks = (form) => {
    const count = form.querySelectorAll("[data-pick]:checked").length;
    form.querySelector("[data-pick-count]").textContent = `${count} chosen`;
    for (const button of form.querySelectorAll("[data-picks-least]")) {
      button.disabled = count < Number(button.dataset.picksLeast) || count > Number(button.dataset.picksMost ?? Infinity);
    }
  };

  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    if (!target) return;
    const plain = !event.ctrlKey && !event.metaKey && !event.shiftKey && event.button === 0;

    const button = target.closest("[data-theme-toggle], [data-copy], [data-dismiss], [data-nav-toggle], [data-close], [role=tab]");
    if (button?.matches("[data-theme-toggle]")) toggleTheme();
    if (button?.matches("[data-copy]")) copy(button);
    if (button?.matches("[data-dismiss]")) button.closest(".toast, .notice")?.remove();
    if (button?.matches("[role=tab]")) selectTab(button);
    if (button?.matches("[data-close]") && button.closest("dialog")) {
      event.preventDefault();
      button.closest("dialog").close();
    }
    if (button?.matches("[data-nav-toggle]")) {
      const open = root.classList.toggle("nav-open");
      button.setAttribute("aria-expanded", String(open));
    }

    const link = target.closest("a[data-dialog]");
    if (link && plain) {
      event.preventDefault();
      openDialog(link);
    }
    if (target.id === "dialog") target.close();
    const away = target.closest("a[href]:not([download], [target])");
    if (away && plain && !event.defaultPrevented && away.origin === location.origin && !away.hash) leave();

    for (const menu of document.querySelectorAll("details.menu[open]")) {
      if (!menu.contains(target) || target.closest(".menu-item")) menu.open = false;
    }
  });

  document.addEventListener("keydown", (event) => {
    const target = event.target;
    if (event.key === "Escape") {
      for (const menu of document.querySelectorAll("details.menu[open]")) {
        menu.open = false;
        menu.querySelector("summary").focus();
      }
      root.classList.remove("nav-open");
    }
    if (event.key === "/" && !event.ctrlKey && !event.metaKey && !target.closest("input, textarea, select, dialog")) {
      const search = document.querySelector("[data-search]");
      if (search) {
        event.preventDefault();
        search.focus();
      }
    }
    const tab = target.closest?.("[role=tab]");
    if (tab && (event.key === "ArrowRight" || event.key === "ArrowLeft")) {
      const tabs = [...tab.closest("[role=tablist]").querySelectorAll("[role=tab]")];
      const step = event.key === "ArrowRight" ? 1 : -1;
      const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
      next.focus();
      selectTab(next);
    }
  });

  document.addEventListener("htmx:afterSwap", (event) => {
    const news = event.target.querySelector("[data-announce]");
    if (news) announce(news.textContent);
  });

  document.addEventListener("pointerover", (event) => {
    const day = event.target.closest?.("[data-readout]");
    const chart = event.target.closest?.(".chart");
    if (chart) chart.querySelector(".chart-readout").textContent = day ? day.dataset.readout : "";
  });

  document.addEventListener("change", (event) => {
    if (event.target.matches?.("[data-submits]")) event.target.form.requestSubmit();
    if (event.target.matches?.("[data-pick]")) countPicks(event.target.form);
  });

  // What asks the payment service may take seconds: the button says so, and a second press does nothing.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!event.defaultPrevented && !form.matches("[data-busy], [data-file]")) leave();
    if (!form.matches("[data-busy]") || form.method !== "post") return;
    if (form.ariaBusy === "true") {
      event.preventDefault();
      return;
    }
    form.ariaBusy = "true";
    announce("Working on it");
  });

  // Back from another page the browser may show this one as it was left
  window.addEventListener("pageshow", () => {
    arrive();
    for (const form of document.querySelectorAll("[data-busy][aria-busy]")) form.ariaBusy = null;
  });

  document.addEventListener("reset", (event) => {
    if (event.target.matches("[data-picks]")) setTimeout(() => countPicks(event.target));
  });

  // A table that is wider than its place is scrolled: by the keyboard too
  const reach = () => {
    for (const wrap of document.querySelectorAll(".table-wrap:not([role])")) {
      if (wrap.scrollWidth <= wrap.clientWidth) continue;
      wrap.tabIndex = 0;
      wrap.role = "region";
      wrap.ariaLabel = wrap.closest("section, form")?.querySelector("h2")?.textContent ?? "Table";
    }
  };
  addEventListener("resize", reach);
  reach();

  describeTheme();
  const tab = document.querySelector(".tabs [aria-current]");
  if (tab) tab.parentElement.scrollLeft = tab.offsetLeft - (tab.parentElement.clientWidth - tab.offsetWidth) / 2;
  setTimeout(() => {
    for (const toast of document.querySelectorAll(".toast-success, .toast-info")) {
      if (!toast.matches(":hover, :focus-within")) toast.remove();
    }
  }, 8000);
})();
