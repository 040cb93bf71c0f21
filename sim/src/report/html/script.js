// The picture needs none of this: it adds a filter by number and view, and the chain of a message.
(function () {
  var root = document.body, all = null;
  root.classList.add("js");
  function arrows() { return all || (all = Array.prototype.slice.call(document.querySelectorAll("path.m[data-i]"))); }
  function show(test) {
    var any = false;
    arrows().forEach(function (a) { var on = test(a); a.classList.toggle("sel", on); any = any || on; });
    root.classList.toggle("only", any);
  }
  function clear() { root.classList.remove("only"); }
  function filter() {
    var n = document.getElementById("j-number").value, v = document.getElementById("j-view").value;
    if (n === "" && v === "") return clear();
    show(function (a) {
      var at = (a.getAttribute("data-k") || "").split(".");
      return (v === "" || at[0] === v) && (n === "" || at[1] === n);
    });
  }
  document.getElementById("j-number").addEventListener("input", filter);
  document.getElementById("j-view").addEventListener("input", filter);
  document.getElementById("j-all").addEventListener("click", function () {
    document.getElementById("j-number").value = document.getElementById("j-view").value = "";
    clear();
  });
  document.getElementById("picture").addEventListener("click", function (event) {
    var path = event.target.closest ? event.target.closest("path.m[data-i]") : null;
    if (!path) return clear();
    var parents = {}, chain = {}, id = path.getAttribute("data-i");
    arrows().forEach(function (a) { parents[a.getAttribute("data-i")] = a.getAttribute("data-p"); });
    while (id && !chain[id]) { chain[id] = true; id = parents[id]; }
    show(function (a) { return chain[a.getAttribute("data-i")] === true; });
  });
})();
