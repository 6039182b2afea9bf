"""The look of a report: light or dark as the reader's system has it, always light on paper."""

__all__ = ["STYLE"]

_LIGHT = """--paper:#fff;--ink:#1b1f26;--soft:#5c636e;--faint:#8b919b;--rule:#e3e6ea;--wash:#f5f6f8;
--run:#2f7fe6;--beside:#d97706;--gain:#0b7565;--loss:#b5321f;--gain-fill:26,158,136;--loss-fill:207,67,47"""
_DARK = """--paper:#14171c;--ink:#e4e7eb;--soft:#a3aab4;--faint:#7d848e;--rule:#2c3139;--wash:#1c2027;
--run:#5c9df0;--beside:#eb9a3c;--gain:#45c3ac;--loss:#ff8470;--gain-fill:38,180,155;--loss-fill:232,92,72"""

STYLE = (
    f":root{{color-scheme:light dark;{_LIGHT}}}"
    f"@media screen and (prefers-color-scheme:dark){{:root{{{_DARK}}}}}"
    """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:14px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.sheet{max-width:1040px;margin:0 auto;padding:36px 28px 48px}
h1{font-size:25px;line-height:1.25;margin:0 0 6px;letter-spacing:-.01em;font-weight:650}
h2{font-size:17px;margin:0 0 12px;padding-top:14px;border-top:2px solid var(--ink);font-weight:650}
h3{font-size:13px;margin:20px 0 6px;font-weight:600;color:var(--soft)}
p{margin:6px 0;max-width:76ch}
section{margin-top:38px}
.kind{font-size:12px;letter-spacing:.09em;text-transform:uppercase;color:var(--soft);margin:0 0 8px}
.about{color:var(--soft);margin:0 0 4px}
.badge{display:inline-block;border:1px solid var(--rule);border-radius:99px;padding:1px 10px;margin:6px 6px 0 0;
font-size:12.5px;color:var(--soft)}
.badge.warn{border-color:var(--beside);color:var(--ink)}
.badge.warn::before{content:"!";font-weight:700;color:var(--beside);margin-right:6px}
nav{margin-top:18px;font-size:12.5px;display:flex;flex-wrap:wrap;gap:4px 16px}
nav a{color:var(--soft);text-decoration:none;border-bottom:1px solid var(--rule)}
nav a:hover{color:var(--ink);border-color:var(--ink)}
.short{margin:22px 0 0;padding:14px 18px;background:var(--wash);border-radius:8px}
.short ul{margin:0;padding-left:18px}.short li{margin:3px 0;max-width:84ch}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:1px;background:var(--rule);
border:1px solid var(--rule);border-radius:8px;overflow:hidden}
.tile{background:var(--paper);padding:11px 14px 10px;min-width:0}
.tile b{display:block;font-size:21px;line-height:1.3;font-weight:620;letter-spacing:-.01em;white-space:nowrap}
.tile span{display:block;font-size:12px;color:var(--soft)}
.tile svg{display:block;width:100%;height:9px;margin:5px 0 2px}
.gain{color:var(--gain)}.loss{color:var(--loss)}.soft{color:var(--soft)}
.note{font-size:12.5px;color:var(--soft)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:13px;width:100%}
th{font-weight:600;color:var(--soft);font-size:12px;text-align:right;padding:4px 0 5px 14px;vertical-align:bottom;
border-bottom:1px solid var(--rule)}
td{text-align:right;padding:4px 0 4px 14px;border-bottom:1px solid var(--rule);overflow-wrap:normal}
th.t,td.t{text-align:left}
th:first-child,td:first-child{padding-left:0}
td.n,th.n{white-space:nowrap}
td.long{min-width:180px;overflow-wrap:anywhere}
tr.all td{font-weight:600}
table.pairs td:first-child{color:var(--soft)}
.columns{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(290px,100%),1fr));gap:0 36px;align-items:start}
.columns.two{grid-template-columns:repeat(auto-fit,minmax(min(290px,100%),1fr))}
.columns>*{min-width:0}
.one{max-width:580px}
.months{table-layout:fixed;min-width:620px;border-spacing:2px;border-collapse:separate}
.months th{border:0;text-align:center;padding:2px 0}
.months td{border:0;text-align:center;padding:5px 2px;border-radius:3px;font-size:12.5px;white-space:nowrap}
.months td:first-child,.months th:first-child{text-align:left;color:var(--soft);font-weight:600}
.months td:last-child{font-weight:650}
figure{margin:14px 0 0;min-width:0}
figcaption{display:flex;flex-wrap:wrap;justify-content:space-between;gap:0 18px;font-size:12.5px;color:var(--soft);
margin-bottom:5px}
figcaption b{color:var(--ink);font-weight:600}
.key{white-space:nowrap;margin-left:14px}.key:first-child{margin-left:0}
.key::before{content:"";display:inline-block;width:12px;height:3px;border-radius:2px;margin-right:6px;vertical-align:3px;
background:currentColor}
.key.dot::before{width:8px;height:8px;border-radius:50%;vertical-align:0}
.key.box::before{width:8px;height:8px;border-radius:1px;vertical-align:0}
.key.run::before{color:var(--run)}.key.beside::before{color:var(--beside)}.key.loss::before{color:var(--loss)}
.key.gain::before{color:var(--gain)}.key.soft::before{color:var(--faint)}
.key.run,.key.beside,.key.loss,.key.gain{color:var(--soft)}
.pane{display:grid;grid-template-columns:minmax(0,1fr) 74px;row-gap:3px}
.area{position:relative;min-width:0}
.area svg{position:absolute;inset:0;width:100%;height:100%;overflow:visible}
.ys,.xs{position:relative;font-size:11.5px;color:var(--soft)}
.xs{height:17px}
.ys i,.xs i{position:absolute;font-style:normal;white-space:nowrap;line-height:1}
.ys i{left:8px;transform:translateY(-50%)}
.xs i{top:3px;transform:translateX(-50%)}
.xs i.left{transform:none}.xs i.right{transform:translateX(-100%)}
.ys i.tag{left:4px;right:0;padding:3px 4px;border-radius:3px;color:var(--paper);font-weight:600;background:var(--run)}
.ys i.tag.loss{background:var(--loss)}.ys i.tag.soft{background:var(--faint)}
.area path,.area line{vector-effect:non-scaling-stroke;fill:none;stroke-linejoin:round}
.area .grid{stroke:var(--rule);stroke-width:1}
.area .base{stroke:var(--faint);stroke-width:1;stroke-dasharray:4 4}
.area .line.run{stroke:var(--run);stroke-width:1.7}.area .line.beside{stroke:var(--beside);stroke-width:1.3}
.area .line.loss{stroke:var(--loss);stroke-width:1.3}.area .line.soft{stroke:var(--faint);stroke-width:1.2}
.area .fill.run{fill:var(--run);fill-opacity:.13}.area .fill.loss{fill:var(--loss);fill-opacity:.2}
.area .fill.soft{fill:var(--faint);fill-opacity:.25}
.area .bars.gain{fill:rgba(var(--gain-fill),.85)}.area .bars.loss{fill:rgba(var(--loss-fill),.85)}
.area .bars.run{fill:var(--run);fill-opacity:.75}.area .bars.soft{fill:var(--faint);fill-opacity:.5}
.area .dots{stroke-width:7;stroke-linecap:round}.area .boxes{stroke-width:6;stroke-linecap:square}
.area .dots.few,.area .boxes.few{stroke-width:8}
.area .run.dots,.area .run.boxes{stroke:var(--run)}.area .beside.dots,.area .beside.boxes{stroke:var(--beside)}
.picture{display:block;width:100%;max-width:960px;height:auto;margin:10px 0 0}
.wide{overflow-x:auto}
.share{display:inline-block;width:92px;height:8px;background:var(--wash);border-radius:2px;vertical-align:0;
overflow:hidden;text-align:left}
.share u{display:block;height:8px;background:var(--run);opacity:.75;text-decoration:none}
.plain{margin:0;padding-left:18px}
code{font:12.5px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
footer{margin-top:44px;padding-top:12px;border-top:1px solid var(--rule);font-size:12px;color:var(--soft)}
@media screen and (max-width:640px){
.sheet{padding:22px 16px 36px}h1{font-size:20px}
.tiles{grid-template-columns:repeat(auto-fill,minmax(130px,1fr))}.tile b{font-size:18px}
.pane{grid-template-columns:minmax(0,1fr) 62px}.xs i:nth-child(even){display:none}.wide .picture{min-width:640px}
}
@media print{
@page{margin:14mm 13mm}
:root{color-scheme:light}
html{print-color-adjust:exact;-webkit-print-color-adjust:exact}
body{font-size:10.5px}
.sheet{max-width:none;padding:0}
nav{display:none}
h1{font-size:19px}h2{font-size:13.5px;margin-bottom:8px}h3{font-size:10.5px;margin-top:12px}
h2,h3,figcaption,thead{break-after:avoid}
figure,.tiles,.short,tr,.months,table.whole,.keep{break-inside:avoid}
section{margin-top:22px}
table,.months td{font-size:9.5px}th{font-size:9px}td{padding-top:2px;padding-bottom:2px}
.tile b{font-size:15px}.tile{padding:7px 10px}.tile span,figcaption,.note,.badge,footer{font-size:9.5px}
.ys,.xs{font-size:9px}
.scroll{overflow:visible}.months{min-width:0}
a{color:inherit;text-decoration:none}
.columns{grid-template-columns:repeat(3,minmax(0,1fr));gap:0 22px}.columns.two{grid-template-columns:repeat(2,minmax(0,1fr))}
}
"""
)
"""The style sheet; its colours tell gains from losses also to those who do not see the hue, by their lightness and sign."""
