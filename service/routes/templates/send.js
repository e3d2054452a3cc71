for (const form of document.querySelectorAll("form[data-method]")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const out = form.querySelector("pre");
    const body = form.querySelector("textarea");
    const options = { method: form.dataset.method };
    if (body) { options.body = body.value; options.headers = { "Content-Type": "application/json" }; }
    try {
      const answer = await fetch(form.querySelector("input").value, options);
      const text = await answer.text();
      let shown = text;
      try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch { /* not JSON: shown as it came */ }
      out.textContent = `${answer.status} ${answer.statusText}\n${shown}`;
    } catch (error) { out.textContent = String(error); }
    out.hidden = false;
  });
}
