import './kit/tokens.css';
import './elements/shell/mg-app.ts';
