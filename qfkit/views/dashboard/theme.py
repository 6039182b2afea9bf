"""The dashboard's style sheet. All rules lie under one class of its own; the page's other outputs keep their look."""

from qfkit.views.picture import BLUE, ORANGE, TEAL, VERMILION

__all__ = ["CLASS", "LINE_COLOURS", "LINE_STYLES", "style"]

CLASS = "qfkit-dash"

# Readable on white and on black, and told apart by their dashes too.
LINE_COLOURS = ("#b5751c", "#8a63d2", "#2b95c4", "#7b818b", "#c2569b", "#5f8f2f")
LINE_STYLES = ("solid", "solid", "dashed", "dashed", "dotted", "dotted")


def _stroke(colour: str) -> str:
    """The rule that draws wick and outline of a candle in its body's colour: bqplot has one stroke for all."""
    red, green, blue = bytes.fromhex(colour[1:])
    return f'.{CLASS} .stick[style*="fill: rgb({red}, {green}, {blue})"]{{stroke:{colour}!important}}'


def style(token: str = "") -> str:
    """The sheet as HTML, to be put into the dashboard itself.

    Where it is drawn a kernel answers, so it also hides what is only for pages without one: the outputs of ``token``.
    """
    hides = (
        f".qfkit-still-{token},.jp-OutputArea-child:has(.qfkit-still-{token}){{display:none!important}}"
        if token
        else ""
    )
    return f"<style>{_SHEET}{_stroke(TEAL)}{_stroke(VERMILION)}{hides}</style>"


# Colours fall back from JupyterLab's to those of VS Code, then to plain light ones.
_SHEET = f"""
.{CLASS}{{
 --q-card:var(--jp-layout-color1,var(--vscode-editorWidget-background,#fff));
 --q-soft:var(--jp-layout-color2,var(--vscode-input-background,#f0f1f3));
 --q-line:var(--jp-border-color2,var(--vscode-widget-border,#dfe1e5));
 --q-grid:color-mix(in srgb,var(--q-quiet) 22%,transparent);
 --q-ink:var(--jp-ui-font-color1,var(--vscode-foreground,#1c1e21));
 --q-quiet:var(--jp-ui-font-color2,var(--vscode-descriptionForeground,#6b7078));
 --q-focus:var(--jp-brand-color1,var(--vscode-focusBorder,#1a73e8));
 --q-up:{TEAL};--q-down:{VERMILION};--q-buy:{BLUE};--q-sell:{ORANGE};--q-warn:{ORANGE};
 container-type:inline-size;width:100%;min-width:0;max-width:1800px;box-sizing:border-box;gap:8px;padding:2px;
 overflow:visible;color:var(--q-ink);font-variant-numeric:tabular-nums;
 font-family:var(--jp-ui-font-family,system-ui,-apple-system,"Segoe UI",Roboto,sans-serif);font-size:13px}}
@supports (color:color-mix(in srgb,red,red)){{
 .{CLASS}{{--q-up:color-mix(in srgb,{TEAL} 86%,var(--q-ink));--q-down:color-mix(in srgb,{VERMILION} 86%,var(--q-ink));
 --q-buy:color-mix(in srgb,{BLUE} 86%,var(--q-ink));--q-sell:color-mix(in srgb,{ORANGE} 86%,var(--q-ink))}}}}
.{CLASS} *{{box-sizing:border-box}}
.{CLASS} .jupyter-widgets,.{CLASS} .widget-html,.{CLASS} .widget-html-content{{margin:0;min-width:0;max-width:100%}}
.{CLASS} .widget-html,.{CLASS} .widget-html-content{{width:100%;height:auto;line-height:1.4;color:inherit;overflow:visible;
 font-size:13px;white-space:normal}}
.{CLASS} .q-card{{background:var(--q-card);border:1px solid var(--q-line);border-radius:8px;padding:10px 12px;
 overflow:visible;min-width:0}}
.{CLASS} .q-row{{display:flex;flex-flow:row wrap;align-items:center;gap:6px;overflow:visible}}
.{CLASS} .q-cols{{display:flex;flex-flow:row wrap;align-items:flex-start;gap:8px;overflow:visible;width:100%}}
.{CLASS} .q-left{{flex:3 1 460px;container-type:inline-size;min-width:0;gap:8px;display:flex;flex-direction:column;overflow:visible}}
.{CLASS} .q-right{{flex:2 1 400px;container-type:inline-size;min-width:0;gap:8px;display:flex;flex-direction:column;overflow:visible}}
.{CLASS} h4{{margin:0 0 6px;font-size:11px;font-weight:600;letter-spacing:.06em;text-transform:uppercase;
 color:var(--q-quiet);line-height:1.4;display:flex;gap:8px;justify-content:space-between;flex-wrap:wrap}}
.{CLASS} h4 small{{font-weight:400;letter-spacing:0;text-transform:none;font-size:11px}}
.{CLASS} p{{margin:2px 0;line-height:1.45}}
.{CLASS} .q-empty,.{CLASS} .q-quiet{{color:var(--q-quiet)}}
.{CLASS} .q-up{{color:var(--q-up)}}.{CLASS} .q-down{{color:var(--q-down)}}
.{CLASS} .q-buy{{color:var(--q-buy)}}.{CLASS} .q-sell{{color:var(--q-sell)}}
.{CLASS} .q-warn{{color:var(--q-warn)}}.{CLASS} .q-bad{{color:var(--q-down);font-weight:600}}
.{CLASS} .q-up i,.{CLASS} .q-down i,.{CLASS} .q-buy i,.{CLASS} .q-sell i{{font-style:normal;font-size:.72em;
 margin-right:.35em;vertical-align:.08em}}
.{CLASS} table{{border-collapse:collapse;width:100%;table-layout:auto;margin:0;border:0;font-size:12px;background:none}}
.{CLASS} th,.{CLASS} td{{padding:3px 0 3px 10px;text-align:right;white-space:nowrap;border:0;background:none;
 vertical-align:baseline;line-height:1.4}}
.{CLASS} tr{{background:none!important;border:0}}
.{CLASS} th{{font-weight:400;color:var(--q-quiet);border-bottom:1px solid var(--q-line);font-size:11px}}
.{CLASS} tbody tr+tr td{{border-top:1px solid color-mix(in srgb,var(--q-line) 55%,transparent)}}
.{CLASS} th:first-child,.{CLASS} td:first-child{{padding-left:0}}
.{CLASS} .q-l{{text-align:left}}
.{CLASS} td.q-cut{{text-align:left;max-width:0;width:60%;overflow:hidden;text-overflow:ellipsis}}
.{CLASS} .q-name{{font-weight:600}}
.{CLASS} .q-of{{display:block;font-size:11px;color:var(--q-quiet);max-width:14em;overflow:hidden;text-overflow:ellipsis}}
.{CLASS} .q-orders tbody+tbody tr:first-child td{{border-top:1px solid color-mix(in srgb,var(--q-line) 55%,transparent)}}
.{CLASS} .q-orders tbody tr+tr td{{border-top:0}}
.{CLASS} .q-orders tr:not(.q-why) td{{padding-bottom:0}}
.{CLASS} .q-orders .q-why td{{padding:0 0 3px;font-size:11px;color:var(--q-quiet)}}
.{CLASS} .q-why b{{font-weight:600;margin-right:.4em;color:var(--q-ink)}}
.{CLASS} .q-why b.q-quiet{{color:var(--q-quiet)}}.{CLASS} .q-why b.q-bad{{color:var(--q-down)}}
.{CLASS} .q-head{{display:flex;flex-wrap:wrap;align-items:baseline;gap:4px 14px}}
.{CLASS} .q-head b{{font-size:16px;font-weight:650}}
.{CLASS} .q-tag{{display:inline-block;border:1px solid var(--q-line);border-radius:10px;padding:0 8px;font-size:11px;
 line-height:18px;color:var(--q-quiet);white-space:nowrap}}
.{CLASS} .q-tag.q-warn{{color:var(--q-warn);border-color:currentColor}}
.{CLASS} .q-light{{white-space:nowrap;font-weight:600}}
.{CLASS} .q-light i{{font-style:normal;margin-right:.4em}}
.{CLASS} .q-figures{{display:flex;flex-wrap:wrap;gap:8px 26px;margin:8px 0 6px}}
.{CLASS} .q-figure{{display:flex;flex-direction:column;min-width:0}}
.{CLASS} .q-figure b{{font-size:18px;line-height:1.25;font-weight:650;white-space:nowrap}}
.{CLASS} .q-figure span.q-label{{font-size:11px;color:var(--q-quiet);line-height:1.4;white-space:nowrap}}
.{CLASS} .q-figure small{{font-size:12px;font-weight:400;margin-left:.4em}}
.{CLASS} button.jupyter-button{{height:28px;line-height:26px;width:auto;min-width:0;padding:0 12px;margin:0;
 border:1px solid var(--q-line);border-radius:6px;background:var(--q-soft);color:var(--q-ink);font-size:12px;
 font-family:inherit;box-shadow:none;overflow:visible}}
.{CLASS} button.jupyter-button:hover:enabled{{border-color:var(--q-quiet);box-shadow:none}}
.{CLASS} button.jupyter-button:disabled{{opacity:.42;cursor:default}}
.{CLASS} button.jupyter-button i{{margin-right:6px}}
.{CLASS} button.q-go{{background:{TEAL};border-color:{TEAL};color:#fff}}
.{CLASS} button.q-stop{{background:{VERMILION};border-color:{VERMILION};color:#fff}}
.{CLASS} button:focus-visible,.{CLASS} select:focus-visible,.{CLASS} input:focus-visible,
.{CLASS} .noUi-handle:focus-visible,.{CLASS} .noUi-handle:focus{{outline:2px solid var(--q-focus)!important;outline-offset:1px}}
.{CLASS} .q-ask{{border:1px solid var(--q-warn);border-radius:6px;padding:4px 8px}}
.{CLASS} .q-ask .widget-html{{width:auto}}
.{CLASS} .widget-toggle-buttons{{width:auto}}
.{CLASS} .widget-toggle-buttons button.jupyter-button{{height:24px;line-height:22px;padding:0 9px;border-radius:0;
 margin:0 0 0 -1px;font-size:11px;background:transparent;color:var(--q-quiet)}}
.{CLASS} .widget-toggle-buttons button.jupyter-button:first-child{{border-radius:6px 0 0 6px;margin-left:0}}
.{CLASS} .widget-toggle-buttons button.jupyter-button:last-child{{border-radius:0 6px 6px 0}}
.{CLASS} .widget-toggle-buttons button.jupyter-button:only-child{{border-radius:6px}}
.{CLASS} .widget-toggle-buttons button.mod-active{{background:var(--q-soft);color:var(--q-ink);font-weight:600}}
.{CLASS} .widget-dropdown{{width:auto;height:24px}}
.{CLASS} .widget-dropdown>select{{height:24px;line-height:22px;border:1px solid var(--q-line);border-radius:6px;
 background-color:var(--q-card);color:var(--q-ink);font-size:12px;font-weight:600;padding:0 24px 0 8px;width:auto;
 min-width:90px;box-shadow:none;appearance:none;background-repeat:no-repeat;background-size:5px 5px;
 background-image:linear-gradient(45deg,transparent 50%,var(--q-quiet) 50%),linear-gradient(135deg,var(--q-quiet) 50%,transparent 50%);
 background-position:right 13px top 9px,right 8px top 9px}}
.{CLASS} .q-bar-top{{justify-content:space-between;width:100%}}
.{CLASS} .q-plot{{position:relative;overflow:hidden;width:100%}}
.{CLASS} .q-plot>.widget-html{{position:absolute;inset:0;height:100%;pointer-events:none;z-index:0}}
.{CLASS} .q-plot>.widget-html>.widget-html-content{{position:absolute;inset:0;height:100%}}
.{CLASS} .q-plot .bqplot{{position:relative;z-index:1;background:transparent}}
.{CLASS} .q-plot .bqplot>svg{{background:transparent}}
.{CLASS} .q-plot .plotarea_background,.{CLASS} .q-plot .theme-light,.{CLASS} .q-plot .theme-dark{{fill:transparent!important}}
.{CLASS} .q-plot svg .axis{{display:none}}
.{CLASS} .q-g,.{CLASS} .q-v{{position:absolute;pointer-events:none}}
.{CLASS} .q-g{{left:8px;right:76px;border-top:1px solid var(--q-grid)}}
.{CLASS} .q-v{{border-left:1px solid var(--q-grid)}}
.{CLASS} .q-g.q-dash{{border-top:1px dashed var(--c)}}
.{CLASS} .q-y,.{CLASS} .q-x,.{CLASS} .q-t{{position:absolute;font-size:11px;line-height:16px;color:var(--q-quiet);white-space:nowrap}}
.{CLASS} .q-y{{right:0;width:70px;transform:translateY(-50%)}}
.{CLASS} .q-x{{bottom:2px;transform:translateX(-50%)}}
.{CLASS} .q-t{{right:0;min-width:73px;transform:translateY(-50%);background:var(--c);color:#fff;border-radius:3px;padding:0 4px;
 font-weight:600;overflow:hidden;text-overflow:ellipsis}}
.{CLASS} .q-t.q-thin{{background:var(--q-card);color:var(--c);border:1px solid var(--c);line-height:14px;font-weight:400}}
.{CLASS} .q-say{{position:absolute;inset:0 76px 24px 8px;display:flex;align-items:center;justify-content:center;text-align:center;
 color:var(--q-quiet)}}
.{CLASS} .q-key{{display:inline-flex;align-items:center;gap:5px;white-space:nowrap}}
.{CLASS} .q-key u{{display:inline-block;width:16px;border-top:2px solid;text-decoration:none}}
.{CLASS} .q-keys{{display:flex;flex-wrap:wrap;gap:2px 14px;font-size:11px;color:var(--q-quiet);line-height:16px;min-height:16px}}
.{CLASS} .q-told{{margin-left:auto}}
.{CLASS} .q-used{{display:inline-block;width:76px;height:7px;border-radius:4px;background:var(--q-soft);
 border:1px solid var(--q-line);overflow:hidden;vertical-align:middle}}
.{CLASS} .q-used u{{display:block;height:100%;background:var(--q-buy)}}
.{CLASS} .q-used.q-near u{{background:var(--q-warn)}}
.{CLASS} .q-used.q-over u{{background:repeating-linear-gradient(45deg,var(--q-down) 0 4px,transparent 4px 6px)}}
.{CLASS} .q-place{{display:inline-block;position:relative;width:64px;height:7px;border-radius:4px;background:var(--q-soft);
 border:1px solid var(--q-line);vertical-align:middle}}
.{CLASS} .q-place s{{position:absolute;top:0;bottom:0;background:color-mix(in srgb,var(--q-buy) 35%,transparent)}}
.{CLASS} .q-place u{{position:absolute;top:-3px;bottom:-3px;width:4px;margin-left:-2px;border-radius:2px;background:var(--q-buy)}}
.{CLASS} .q-place.q-out u{{background:var(--q-down)}}
.{CLASS} .q-facts{{display:flex;flex-wrap:wrap;gap:2px 16px;margin-bottom:6px;font-size:12px}}
.{CLASS} .q-facts span b{{font-weight:600}}
.{CLASS} .q-stopped{{border-left:3px solid var(--q-down);padding:2px 0 2px 8px;margin:4px 0;font-size:12px}}
.{CLASS} .q-log{{font-family:var(--jp-code-font-family,ui-monospace,Menlo,Consolas,monospace);font-size:11.5px;line-height:1.55}}
.{CLASS} .q-log div{{display:flex;gap:8px;overflow-wrap:anywhere}}
.{CLASS} .q-log time{{color:var(--q-quiet);white-space:nowrap}}
.{CLASS} .q-knobs{{display:flex;flex-flow:row wrap;gap:2px 18px;overflow:visible}}
.{CLASS} .q-knobs>.jupyter-widgets{{flex:1 1 240px;max-width:420px;height:28px}}
.{CLASS} .q-knobs .widget-label{{color:var(--q-ink);font-size:12px;text-align:left;width:84px;flex:0 0 84px}}
.{CLASS} .q-knobs .widget-readout{{color:var(--q-ink);font-size:12px;min-width:48px;border:1px solid transparent;text-align:right}}
.{CLASS} .q-knobs input,.{CLASS} .q-knobs select{{background:var(--q-card);color:var(--q-ink);border:1px solid var(--q-line);border-radius:4px}}
.{CLASS} .q-knobs .noUi-target{{background:var(--q-soft);border-color:var(--q-line)}}
.{CLASS} .q-knobs .noUi-connect{{background:var(--q-buy)}}
.{CLASS} .q-strategy+.q-strategy{{border-top:1px solid var(--q-line);margin-top:8px;padding-top:8px}}
.{CLASS} .q-strategy{{overflow:visible}}
.{CLASS} .q-group{{display:flex;flex-flow:row wrap;align-items:center;gap:6px 18px;overflow:visible}}
.{CLASS} .q-group>.widget-html{{flex:1 1 420px;width:auto}}
.{CLASS} .q-line{{display:flex;flex-wrap:wrap;align-items:center;gap:4px 18px}}
.{CLASS} .q-line>b{{font-size:14px;min-width:110px}}
.{CLASS} .q-line svg{{width:160px;height:34px;overflow:visible}}
.{CLASS} .q-line span.q-cell{{min-width:84px;text-align:right}}
.{CLASS}.q-small .q-card{{padding:8px 10px}}
.{CLASS}.q-small .q-figure b{{font-size:15px}}
@container (max-width:760px){{.{CLASS} .q-figures{{gap:6px 14px}}
 .{CLASS} .q-figure b{{font-size:16px}}.{CLASS} .q-figure span.q-label{{white-space:normal;max-width:88px}}}}
@container (max-width:560px){{.{CLASS} .q-x.q-odd{{display:none}}}}
@container (max-width:440px){{.{CLASS} .q-wide{{display:none}}}}
@container (max-width:370px){{.{CLASS} .q-mid{{display:none}}.{CLASS} .q-x{{display:none}}}}
"""
