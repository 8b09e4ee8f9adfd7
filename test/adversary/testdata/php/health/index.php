<?php
$route = 'health';
require __DIR__ . "/../../served.php";
